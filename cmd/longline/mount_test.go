package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// asMount in the environment makes this test binary a process that has a small file system of its own, in the directory that it names, and runs
// gateways on it. It takes commands from its standard input, one a line, and answers each with a line on its standard output.
const asMount = "LONGLINE_TEST_MOUNT"

// small is a file system that only a process of its own, and what that runs, can see.
type small struct {
	t       *testing.T
	dir     string
	in      io.Writer
	answers *bufio.Scanner
	log     *bufio.Scanner
}

// newSmall makes a file system of so many bytes. It needs to be root, or a kernel that gives users namespaces of their own.
func newSmall(t *testing.T, bytes int) *small {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], fmt.Sprintf("size=%d", bytes))
	cmd.Env = append(os.Environ(), asMount+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: gid, Size: 1}}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("a small file system needs root, or namespaces for users: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close() // it ends what it runs
		_ = cmd.Wait()
	})
	s := &small{t, dir, in, bufio.NewScanner(out), bufio.NewScanner(log)}
	s.do("mounted")
	return s
}

// do gives a command and expects that it succeeds.
func (s *small) do(command string, args ...string) string {
	s.t.Helper()
	line, _ := json.Marshal(append([]string{command}, args...))
	if _, err := fmt.Fprintf(s.in, "%s\n", line); err != nil {
		s.t.Fatal(err)
	}
	if !s.answers.Scan() {
		s.t.Fatalf("%s: no answer", command)
	}
	answer, ok := strings.CutPrefix(s.answers.Text(), "ok ")
	if !ok {
		s.t.Fatalf("%s: %s", command, s.answers.Text())
	}
	return answer
}

// serve starts a gateway that keeps its data in the file system.
func (s *small) serve(args ...string) *program {
	s.t.Helper()
	s.do("run", append([]string{"serve", "--insecure", "--data", filepath.Join(s.dir, "data"), "--set", "log.format=json",
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"}, args...)...)
	p := &program{t: s.t}
	var last string
	for p.devices == "" && s.log.Scan() {
		if last = s.log.Text(); strings.HasPrefix(last, "longline: ") {
			break // it has ended
		}
		var entry struct{ Msg, Devices, Admin, MQTT string }
		if json.Unmarshal(s.log.Bytes(), &entry) == nil && entry.Msg == "listening" {
			p.devices, p.admin, p.mqttAddr = entry.Devices, entry.Admin, entry.MQTT
		}
	}
	if p.devices == "" {
		s.t.Fatalf("the gateway does not listen: %s", last)
	}
	return p
}

// runOnMount is the process's main function.
func runOnMount() int {
	dir := os.Getenv(asMount)
	mounted := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if mounted == nil {
		mounted = unix.Mount("tmpfs", dir, "tmpfs", 0, os.Args[1])
	}
	var cmd *exec.Cmd
	kill := func() {
		if cmd != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			cmd = nil
		}
	}
	defer kill()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var args []string
		_ = json.Unmarshal(lines.Bytes(), &args)
		answer, err := "", error(nil)
		switch args[0] {
		case "mounted":
			err = mounted
		case "run":
			cmd = exec.Command(os.Args[0], args[1:]...)
			cmd.Env = append(os.Environ(), asProgram+"=1")
			cmd.Stderr = os.Stderr
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			err = cmd.Start()
		case "try":
			c := exec.Command(os.Args[0], args[1:]...)
			c.Env = append(os.Environ(), asProgram+"=1")
			var text []byte
			text, _ = c.CombinedOutput()
			answer = fmt.Sprintf("%d %q", c.ProcessState.ExitCode(), text)
		case "kill":
			kill()
		case "fill":
			err = fill(filepath.Join(dir, "filler"), 64<<10)
		case "fill all":
			err = fill(filepath.Join(dir, "filler"), 0)
		case "empty":
			err = os.Remove(filepath.Join(dir, "filler"))
		case "readonly":
			err = unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
		if err != nil {
			fmt.Println("failed", err)
		} else {
			fmt.Println("ok", answer)
		}
	}
	return 0
}

// fill writes a file until only so many bytes of the file system are left.
func fill(name string, left int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	size := int64(0)
	for b := make([]byte, 1<<20); len(b) > 2048; {
		n, err := f.Write(b)
		if size += int64(n); err != nil {
			b = b[:len(b)/2]
		}
	}
	return f.Truncate(size - left)
}
