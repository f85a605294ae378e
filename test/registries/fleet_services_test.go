//go:build servers || long

package registries

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// catalog is a registry that has the instances of one service, on 127.0.0.1.
type catalog interface {
	section() string // of the service in the gateway's configuration
	add(t *testing.T, port int)
	remove(t *testing.T, port int)
}

// fleetService is a service that the devices of a fleet call.
type fleetService struct {
	catalog
	name string
	line []string // program and script of an instance

	instances []*instance
}

// instance is a process that answers calls.
type instance struct {
	name   string
	port   int
	cmd    *exec.Cmd
	exited chan struct{}

	mu     sync.Mutex
	served []servedCall
}

// servedCall is a call as a service got it.
type servedCall struct {
	Device, Method string
	N              int
}

// start starts one more instance and registers it.
func (s *fleetService) start(t *testing.T) *instance {
	t.Helper()
	i := &instance{name: fmt.Sprintf("%s-%d", s.name, len(s.instances)), exited: make(chan struct{})}
	i.cmd = exec.Command(s.line[0], s.line[1], i.name)
	lines := startChild(t, i.cmd)
	listening := make(chan int, 1)
	go func() {
		defer close(i.exited)
		i.read(t, lines, listening)
		_ = i.cmd.Wait()
	}()
	t.Cleanup(i.kill)
	select {
	case i.port = <-listening:
	case <-i.exited:
		t.Fatalf("%s has ended", i.name)
	case <-time.After(time.Minute):
		t.Fatalf("%s does not start", i.name)
	}
	s.add(t, i.port)
	s.instances = append(s.instances, i)
	return i
}

// read reads what the instance prints: its port, and its calls.
func (i *instance) read(t *testing.T, lines *bufio.Scanner, listening chan<- int) {
	if lines.Scan() {
		port, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Errorf("%s: %v", i.name, err)
		}
		listening <- port
	}
	for lines.Scan() {
		var c servedCall
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Errorf("%s: %q: %v", i.name, lines.Text(), err)
		}
		i.mu.Lock()
		i.served = append(i.served, c)
		i.mu.Unlock()
	}
}

func (i *instance) calls() []servedCall {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.served[:len(i.served):len(i.served)]
}

// kill ends the instance at once, and returns when all that it has printed is read.
func (i *instance) kill() {
	_ = i.cmd.Process.Kill()
	<-i.exited
}

// haunt listens where an instance was, and counts the requests that still come.
func haunt(t *testing.T, i *instance) *atomic.Int64 {
	t.Helper()
	var l net.Listener
	await(t, "the port of "+i.name+" to be free", func() bool {
		var err error
		l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(i.port)))
		return err == nil
	})
	requests := new(atomic.Int64)
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) })}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-served })
	return requests
}

// startChild starts a process that ends with this one. Its owner waits for it when it has read all that it prints.
func startChild(t *testing.T, cmd *exec.Cmd) *bufio.Scanner {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("%v: run make deps", err)
	}
	return bufio.NewScanner(out)
}

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}
