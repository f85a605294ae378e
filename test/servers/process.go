package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Program says how a server is installed and started.
type Program struct {
	// Name is that of its recipe, scripts/servers/NAME.sh.
	Name string
	// Ports are the ports that it listens on, as distances from the first: 0 is the first itself.
	Ports []int
	// Prepare makes the server's first files in dir, the directory in which it will run. It may be nil.
	Prepare func(installed, dir string) error
	// Many says that the server has many processes, which end with the first, and that it refuses to be run by root.
	Many bool
	// Command returns the command line. installed is the directory in which the recipe has installed it. It runs in a directory of
	// its own, which is empty at first or has what Prepare made, and stays when it is restarted.
	Command func(installed string, port int) []string
	// Ready returns nil when the server can be used.
	Ready func(ctx context.Context, port int) error
}

// Process is a server that runs. Its methods are for one goroutine.
type Process struct {
	Port int    // the first of its ports, on 127.0.0.1
	Dir  string // in which it runs; its output is in the file log

	program Program
	line    []string
	process *os.Process
	exited  chan struct{}
}

// patience is how long a server may take until it is ready: some take a minute on a busy machine.
const patience = 5 * time.Minute

// Launch installs a server if need be, starts it in dir, which is empty, and waits until it is ready.
func Launch(ctx context.Context, p Program, dir string) (*Process, error) {
	installed, err := install(p.Name)
	if err != nil {
		return nil, err
	}
	port, err := free(p.Ports)
	if err != nil {
		return nil, err
	}
	s := &Process{Port: port, Dir: dir, program: p, line: p.Command(installed, port)}
	if p.Prepare != nil {
		if err := p.Prepare(installed, dir); err != nil {
			return nil, fmt.Errorf("%s cannot be prepared: %w", p.Name, err)
		}
	}
	return s, s.Restart(ctx)
}

// launchAll launches programs, in directories below dir. After an error none runs.
func launchAll(ctx context.Context, dir string, programs ...Program) ([]*Process, error) {
	var all []*Process
	for i, p := range programs {
		own := filepath.Join(dir, strconv.Itoa(i))
		err := os.MkdirAll(own, 0o700)
		if err == nil {
			var s *Process
			if s, err = Launch(ctx, p, own); err == nil {
				all = append(all, s)
			}
		}
		if err != nil {
			killAll(all)
			return nil, err
		}
	}
	return all, nil
}

func killAll(all []*Process) {
	for _, s := range all {
		s.Kill()
	}
}

// URL returns the server's URL with this path.
func (s *Process) URL(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", s.Port, path) }

// Address returns host and port.
func (s *Process) Address() string { return s.at(0) }

// at returns host and port of one of the server's ports.
func (s *Process) at(distance int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port+distance))
}

// PID returns the server's process id, while it runs.
func (s *Process) PID() int { return s.process.Pid }

// Kill ends the server at once, also if it is stopped. Its files stay.
func (s *Process) Kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Kill()
	<-s.exited
	s.process = nil
}

// Restart starts the server, which has been killed, with the same ports and files, and waits until it is ready. After an error the
// server does not run.
func (s *Process) Restart(ctx context.Context) error {
	output, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	cmd := command(s.Dir, s.program.Many, s.line)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	s.process, s.exited = cmd.Process, exited
	if err := s.wait(ctx); err != nil {
		s.Kill()
		return fmt.Errorf("%s %w", s.program.Name, err)
	}
	return nil
}

// command returns a command that runs in dir and ends with this process. If it may have many processes, they are in namespaces of their
// own, where they have an ordinary user and end with the first of them.
func command(dir string, many bool, line []string) *exec.Cmd {
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if many {
		const ordinary = 1000
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: ordinary, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: ordinary, HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

// prepare runs a command in dir that makes a server's first files.
func prepare(dir string, many bool, line []string) error {
	if out, err := command(dir, many, line).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", line, err, out)
	}
	return nil
}

// wait waits until the server is ready.
func (s *Process) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := s.program.Ready(ctx, s.Port)
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("has ended before it was ready")
		case <-ctx.Done():
			return fmt.Errorf("is not ready: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop makes the server answer nothing until Continue; connections stay.
func (s *Process) Stop() error { return s.process.Signal(syscall.SIGSTOP) }

// Continue ends Stop.
func (s *Process) Continue() error { return s.process.Signal(syscall.SIGCONT) }

// log returns the end of the server's output.
func (s *Process) log() string {
	text, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
	return string(text[max(0, len(text)-4096):])
}

// accepts is a Ready: the server takes connections.
func accepts(ctx context.Context, port int) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return c.Close()
}

// install installs a program and returns its directory. The working directory is in the repository.
func install(name string) (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		script := filepath.Join(root, "scripts/servers.sh")
		if _, err := os.Stat(script); err == nil {
			cmd := exec.Command(script, name)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				return "", fmt.Errorf("%s cannot be installed: %w", name, err)
			}
			return strings.TrimSpace(string(out)), nil
		}
		if root == filepath.Dir(root) {
			return "", errors.New("the working directory is not in the repository")
		}
		root = filepath.Dir(root)
	}
}

// free returns a port from which on, at these distances, nobody listens. It is below those that the kernel gives to connections, so
// that it stays free while a server is down.
func free(distances []int) (int, error) {
	const from, to = 10_000, 30_000
	for range 1000 {
		if port := from + rand.IntN(to-from); isFree(port, distances) {
			return port, nil
		}
	}
	return 0, errors.New("there are no free ports")
}

func isFree(port int, distances []int) bool {
	for _, d := range distances {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+d)))
		if err != nil {
			return false
		}
		_ = l.Close()
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			return false
		}
		_ = p.Close()
	}
	return true
}
