package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// addresses are where a gateway listens.
type addresses struct{ Devices, MQTT, Admin string }

var errDown = errors.New("the gateway is down")

// gateway is longline serve, one process after another. Its methods are safe from any goroutine.
type gateway struct {
	command []string
	book    *book

	mu      sync.Mutex
	at      addresses     // empty while it is down
	up      chan struct{} // closed when it is up
	process *exec.Cmd
	ended   chan struct{} // closed when the process has ended
	lines   []event       // its log
}

// maxLines bounds the lines of the log that are kept.
const maxLines = 1 << 20

func newGateway(b *book, command ...string) *gateway {
	return &gateway{command: command, book: b, up: make(chan struct{})}
}

// errSilent says that a gateway did not listen in time, and was killed.
var errSilent = errors.New("the gateway does not listen")

// start starts a process and waits until it listens, so long at most. If it ends before, the error has the last line of its log.
func (g *gateway) start(ctx context.Context, within time.Duration) error {
	c := exec.Command(g.command[0], g.command[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := c.StderrPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	listening, ended := make(chan addresses, 1), make(chan struct{})
	go func() {
		g.read(log, listening)
		_ = c.Wait() // it was killed, or said why in its log
		close(ended)
	}()
	g.mu.Lock()
	g.process, g.ended = c, ended
	g.mu.Unlock()
	select {
	case at := <-listening:
		g.mu.Lock()
		defer g.mu.Unlock()
		g.at = at
		close(g.up)
		return nil
	case <-ended:
		return errors.New("the gateway ended before it listened: " + g.lastLine())
	case <-ctx.Done():
		g.kill()
		return ctx.Err()
	case <-time.After(within):
		g.kill()
		return fmt.Errorf("%w after %v", errSilent, within)
	}
}

const (
	startTimeout = time.Minute
	fullTimeout  = 5 * time.Second // on a full disk, where a start may wait for room
)

// read keeps the lines of the log until it ends.
func (g *gateway) read(log io.Reader, listening chan<- addresses) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		g.add(line)
		var entry struct {
			Msg string
			addresses
		}
		if strings.Contains(line, `"listening"`) && json.Unmarshal([]byte(line), &entry) == nil {
			listening <- entry.addresses
		}
	}
}

// add keeps a line of the log.
func (g *gateway) add(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.lines) < maxLines {
		g.lines = append(g.lines, event{g.book.now(), line})
	}
}

func (g *gateway) lastLine() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.lines) == 0 {
		return "it has logged nothing"
	}
	return g.lines[len(g.lines)-1].text
}

// kill kills the process with SIGKILL and waits until it has ended.
func (g *gateway) kill() {
	g.mu.Lock()
	c, ended := g.process, g.ended
	if g.at != (addresses{}) {
		g.at, g.up = addresses{}, make(chan struct{})
	}
	g.mu.Unlock()
	if c == nil {
		return
	}
	_ = c.Process.Kill()
	<-ended
	g.add("killed")
}

// stop ends the process as an operator does, and kills it if it does not end in time.
func (g *gateway) stop() {
	g.mu.Lock()
	c, ended := g.process, g.ended
	g.mu.Unlock()
	_ = c.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(stopTimeout):
		g.book.fault(fmt.Sprintf("the gateway does not end %v after SIGTERM", stopTimeout))
	}
	g.kill()
}

// stopTimeout is more than gateway.drain_timeout and the time in which the store is closed.
const stopTimeout = 20 * time.Second

// alive reports whether the process lives.
func (g *gateway) alive() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.ended:
		return false
	default:
		return true
	}
}

// addresses returns where the gateway listens, or errDown.
func (g *gateway) addresses() (addresses, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at == (addresses{}) {
		return g.at, errDown
	}
	return g.at, nil
}

// wait waits until the gateway is up.
func (g *gateway) wait(ctx context.Context) error {
	g.mu.Lock()
	up := g.up
	g.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dial connects to an address of the gateway.
func (g *gateway) dial(ctx context.Context, which func(addresses) string) (net.Conn, error) {
	at, err := g.addresses()
	if err != nil {
		return nil, err
	}
	return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", which(at))
}

// client returns an HTTP client that connects by dial, whatever its URLs say.
func client(dial func(ctx context.Context) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		Protocols:   http1(),
	}}
}

// admin returns an HTTP client for the admin port.
func (g *gateway) admin() *http.Client {
	return client(func(ctx context.Context) (net.Conn, error) {
		return g.dial(ctx, func(a addresses) string { return a.Admin })
	})
}

func http1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

// post calls a method of the API and returns the status; answer gets the response if it is 200.
func (g *gateway) post(ctx context.Context, client *http.Client, method string, request, answer any) (status int, err error) {
	if err := g.wait(ctx); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/longline.v1.Gateway/"+method, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err == nil && answer != nil && response.StatusCode == http.StatusOK {
		err = json.Unmarshal(b, answer)
	}
	return response.StatusCode, err
}

// get returns the status and body of a page of the admin port.
func (g *gateway) get(ctx context.Context, client *http.Client, path string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return 0, "", err
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(b), err
}
