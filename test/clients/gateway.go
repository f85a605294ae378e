package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/longline/longline/test/account"
)

// Addresses are where a gateway listens.
type Addresses struct{ Devices, MQTT, Admin string }

// ErrDown says that no gateway is up.
var ErrDown = errors.New("the gateway is down")

// Gateway is longline serve, one process after another. Its methods are safe from any goroutine.
type Gateway struct {
	Environment []string // of the next process, besides this process's own
	command     []string
	book        *account.Book

	mu      sync.Mutex
	at      Addresses     // empty while it is down
	up      chan struct{} // closed when it is up
	process *exec.Cmd
	ended   chan struct{}   // closed when the process has ended
	lines   []account.Event // its log
}

// maxLines bounds the lines of the log that are kept.
const maxLines = 1 << 20

// NewGateway returns a gateway that is down. The command has to log in JSON where it listens.
func NewGateway(b *account.Book, command ...string) *Gateway {
	return &Gateway{command: command, book: b, up: make(chan struct{})}
}

// ErrSilent says that a gateway did not listen in time, and was killed.
var ErrSilent = errors.New("the gateway does not listen")

// Start starts a process and waits until it listens, so long at most. If it ends before, the error has the last line of its log.
func (g *Gateway) Start(ctx context.Context, within time.Duration) error {
	c := exec.Command(g.command[0], g.command[1:]...)
	c.Env = append(os.Environ(), g.Environment...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := c.StderrPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	listening, ended := make(chan Addresses, 1), make(chan struct{})
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
		return errors.New("the gateway ended before it listened: " + g.LastLine())
	case <-ctx.Done():
		g.Kill()
		return ctx.Err()
	case <-time.After(within):
		g.Kill()
		return fmt.Errorf("%w after %v", ErrSilent, within)
	}
}

// StartTimeout is how long a gateway may take until it listens.
const StartTimeout = time.Minute

// read keeps the lines of the log until it ends.
func (g *Gateway) read(log io.Reader, listening chan<- Addresses) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		g.add(line)
		var entry struct {
			Msg string
			Addresses
		}
		if strings.Contains(line, `"listening"`) && json.Unmarshal([]byte(line), &entry) == nil {
			listening <- entry.Addresses
		}
	}
}

// add keeps a line of the log.
func (g *Gateway) add(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.lines) < maxLines {
		g.lines = append(g.lines, account.Event{At: g.book.Now(), Text: line})
	}
}

func (g *Gateway) LastLine() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.lines) == 0 {
		return "it has logged nothing"
	}
	return g.lines[len(g.lines)-1].Text
}

// Kill kills the process with SIGKILL and waits until it has ended.
func (g *Gateway) Kill() {
	g.mu.Lock()
	c, ended := g.process, g.ended
	if g.at != (Addresses{}) {
		g.at, g.up = Addresses{}, make(chan struct{})
	}
	g.mu.Unlock()
	if c == nil {
		return
	}
	_ = c.Process.Kill()
	<-ended
	g.add("killed")
}

// Stop ends the process as an operator does, and kills it if it does not end in time.
func (g *Gateway) Stop() {
	g.mu.Lock()
	c, ended := g.process, g.ended
	g.mu.Unlock()
	_ = c.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(stopTimeout):
		g.book.Fault(fmt.Sprintf("the gateway does not end %v after SIGTERM", stopTimeout))
	}
	g.Kill()
}

// stopTimeout is more than gateway.drain_timeout and the time in which the store is closed.
const stopTimeout = 20 * time.Second

// Signal sends a signal to the process.
func (g *Gateway) Signal(s os.Signal) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.process.Process.Signal(s)
}

// Alive reports whether the process lives.
func (g *Gateway) Alive() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.ended:
		return false
	default:
		return true
	}
}

// Addresses returns where the gateway listens, or ErrDown.
func (g *Gateway) Addresses() (Addresses, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at == (Addresses{}) {
		return g.at, ErrDown
	}
	return g.at, nil
}

// Wait waits until the gateway is up.
func (g *Gateway) Wait(ctx context.Context) error {
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

// Dial connects to an address of the gateway.
func (g *Gateway) Dial(ctx context.Context, _ string, to func(Addresses) string) (net.Conn, error) {
	at, err := g.Addresses()
	if err != nil {
		return nil, err
	}
	return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", to(at))
}

// Log returns the lines of the gateway's log.
func (g *Gateway) Log() []account.Event {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.lines)
}

// WriteLog writes the gateway's log to a file.
func (g *Gateway) WriteLog(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, e := range g.Log() {
		fmt.Fprintf(w, "%12v %s\n", e.At.Round(100*time.Microsecond), e.Text)
	}
	return errors.Join(w.Flush(), f.Close())
}
