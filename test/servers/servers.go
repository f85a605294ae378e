// Package servers installs real servers and starts them for tests: registries, later stores and brokers. A server has free ports and
// files of its own, and ends with its test. It can be killed and restarted, or stopped so that it answers nothing.
package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Program says how a server is installed and started.
type Program struct {
	// Name is that of its recipe, scripts/servers/NAME.sh.
	Name string
	// Ports are the ports that it listens on, as distances from the first: 0 is the first itself.
	Ports []int
	// Command returns the command line. installed is the directory in which the recipe has installed it. It runs in a directory of
	// its own, which is empty at first and stays when it is restarted.
	Command func(installed string, port int) []string
	// Ready returns nil when the server can be used.
	Ready func(ctx context.Context, port int) error
}

// Server is a server that runs. Its methods are for the test's goroutine.
type Server struct {
	Port int    // the first of its ports, on 127.0.0.1
	Dir  string // in which it runs; its output is in the file log

	t       testing.TB
	program Program
	line    []string
	process *os.Process
	exited  chan struct{}
}

// start is how long a server may take until it is ready: some take a minute on a busy machine.
const start = 5 * time.Minute

// Start installs a server if need be, starts it and waits until it is ready. It is killed at the end of the test.
func Start(t testing.TB, p Program) *Server {
	t.Helper()
	s := &Server{Port: free(t, p.Ports), Dir: t.TempDir(), t: t, program: p}
	s.line = p.Command(install(t, p.Name), s.Port)
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", p.Name, s.log())
		}
	})
	s.Restart()
	return s
}

// URL returns the server's URL with this path.
func (s *Server) URL(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", s.Port, path) }

// Address returns host and port.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// Kill ends the server at once, also if it is stopped. Its files stay.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Kill()
	<-s.exited
	s.process = nil
}

// Restart starts the server, which has been killed, with the same ports and files, and waits until it is ready.
func (s *Server) Restart() {
	s.t.Helper()
	output, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer output.Close()
	cmd := exec.Command(s.line[0], s.line[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	s.process, s.exited = cmd.Process, exited
	s.wait()
}

// wait waits until the server is ready.
func (s *Server) wait() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), start)
	defer cancel()
	for {
		err := s.program.Ready(ctx, s.Port)
		if err == nil {
			return
		}
		select {
		case <-s.exited:
			s.t.Fatalf("%s has ended before it was ready", s.program.Name)
		case <-ctx.Done():
			s.t.Fatalf("%s is not ready: %v", s.program.Name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop makes the server answer nothing until Continue; connections stay.
func (s *Server) Stop() { s.signal(syscall.SIGSTOP) }

// Continue ends Stop.
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(which syscall.Signal) {
	s.t.Helper()
	if err := s.process.Signal(which); err != nil {
		s.t.Fatal(err)
	}
}

// log returns the end of the server's output.
func (s *Server) log() string {
	text, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
	return string(text[max(0, len(text)-4096):])
}

// Answers is a Ready: the server answers path with a status below 300, and with want in the first bytes.
func Answers(path, want string) func(ctx context.Context, port int) error {
	return func(ctx context.Context, port int) error {
		return answers(ctx, http.DefaultClient, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil, want)
	}
}

func answers(ctx context.Context, client *http.Client, url string, header http.Header, want string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	request.Close = true
	for key, values := range header {
		request.Header[key] = values
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err == nil && (response.StatusCode >= 300 || !strings.Contains(string(text), want)) {
		err = fmt.Errorf("it answers %d %s", response.StatusCode, text)
	}
	return err
}

// install installs a program and returns its directory.
func install(t testing.TB, name string) string {
	t.Helper()
	root, err := os.Getwd()
	for err == nil {
		script := filepath.Join(root, "scripts/servers.sh")
		if _, err := os.Stat(script); err == nil {
			cmd := exec.Command(script, name)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s cannot be installed: %v", name, err)
			}
			return strings.TrimSpace(string(out))
		}
		if root == filepath.Dir(root) {
			err = errors.New("the test does not run in the repository")
			break
		}
		root = filepath.Dir(root)
	}
	t.Fatal(err)
	return ""
}

// free returns a port from which on, at these distances, nobody listens. It is below those that the kernel gives to connections, so
// that it stays free while a server is down.
func free(t testing.TB, distances []int) int {
	t.Helper()
	const from, to = 10_000, 30_000
	for range 1000 {
		if port := from + rand.IntN(to-from); isFree(port, distances) {
			return port
		}
	}
	t.Fatal("there are no free ports")
	return 0
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
