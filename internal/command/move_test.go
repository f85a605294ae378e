package command

import (
	"errors"
	"log/slog"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/wire"
)

// node is a manager in a cluster.
type node struct {
	*Manager
	medium *medium
	idle   []string // guarded by Manager.mu
}

func newNode(t *testing.T, c Config) *node {
	n := &node{medium: newMedium()}
	n.Manager = Open(c, n.medium, nil, slog.New(slog.DiscardHandler))
	n.InCluster(func(device string) { n.idle = append(n.idle, device) })
	n.Start(nobody{})
	t.Cleanup(n.Close)
	return n
}

// wasIdle returns the devices whose last command is gone.
func (n *node) wasIdle() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.idle
}

// nobody is devices that are all away.
type nobody struct{}

func (nobody) Online(string) bool  { return false }
func (nobody) SendCommands(string) {}

// make creates a command and makes it safe.
func (n *node) make(t *testing.T, r Request) *Command {
	t.Helper()
	done := make(chan error, 1)
	id, _, err := n.begin(&r, time.Minute, func(err error) { done <- err })
	if err != nil {
		t.Fatal(err)
	}
	n.medium.sync()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c, err := n.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Commands move with their device, with what happened to them; the node that had them knows nothing of them any more.
func TestCommandsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNode(t, Config{}), newNode(t, Config{})
		first := a.make(t, Request{Device: "m-1", Method: "reset", Payload: []byte("x"), Key: "k"})
		other := a.make(t, Request{Device: "m-2", Method: "reset"})
		s, ok := a.Manager.Take("m-1")
		for ; !ok; s, ok = a.Manager.Take("m-1") {
			a.medium.sync() // the promise to send it
		}
		a.Handed(s, "session", 1)
		a.medium.sync()
		place := a.last

		values := maps.Clone(a.medium.safe)
		maps.DeleteFunc(values, func(key string, _ []byte) bool { id, _, _ := parseKey(key); return id == other.ID })
		b.Restore("m-1", values)
		a.Forget("m-1")

		got, err := b.Get(first.ID)
		if err != nil || got.State != Sent || got.Attempts != 1 || string(got.Payload) != "x" || len(got.History) != 2 {
			t.Fatalf("at the new node: %+v, %v", got, err)
		}
		if list, _, _ := b.Changed("", AnyState, 0, 10); len(list) != 1 || list[0].Place <= place {
			t.Errorf("who watches the new node gets %v", list)
		}
		if _, err := a.Get(first.ID); !errors.Is(err, ErrUnknown) || a.Keeps("m-1") || !a.Keeps("m-2") {
			t.Errorf("at the old node: %v", err)
		}
		if idle := a.wasIdle(); len(idle) != 0 {
			t.Errorf("the old node ends its claim of %v", idle)
		}
		again, existed, err := b.begin(&Request{Device: "m-1", Method: "reset", Payload: []byte("x"), Key: "k"}, time.Minute, func(error) {})
		if err != nil || !existed || again != first.ID {
			t.Errorf("the same request at the new node: %d, %v, %v", again, existed, err)
		}
		if !b.Answer("m-1", first.ID, []byte("done"), "", wire.Error{}) {
			t.Error("the new node does not wait for the device's answer")
		}
		b.medium.sync()
		if got, err := b.Get(first.ID); err != nil || got.State != Succeeded {
			t.Errorf("after the answer: %+v, %v", got, err)
		}
	})
}

// A request whose device moves while it waits for the store is told so.
func TestRequestsOfDevicesThatMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fails := range []error{nil, errors.New("refused")} {
			n := newNode(t, Config{})
			done := make(chan error, 1)
			id, _, err := n.begin(&Request{Device: "m-1", Method: "reset"}, time.Minute, func(err error) { done <- err })
			if err != nil {
				t.Fatal(err)
			}
			n.Forget("m-1")
			n.medium.pass(fails)
			if err := <-done; !errors.Is(err, ErrMoved) {
				t.Errorf("a fence that says %v: %v", fails, err)
			}
			if _, err := n.Get(id); !errors.Is(err, ErrUnknown) {
				t.Errorf("it is still there: %v", err)
			}
		}
	})
}

// The last command of a device ends the claim of a device that has no session.
func TestIdleDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, Config{Keep: time.Hour})
		n.make(t, Request{Device: "m-1", Method: "reset"})
		n.make(t, Request{Device: "m-1", Method: "reset"})
		time.Sleep(2 * time.Minute) // they expire
		n.medium.sync()
		if idle := n.wasIdle(); len(idle) > 0 {
			t.Fatalf("idle with ended commands: %v", idle)
		}
		time.Sleep(2 * time.Hour)
		if idle := n.wasIdle(); len(idle) != 1 || idle[0] != "m-1" || n.Keeps("m-1") {
			t.Errorf("idle: %v", idle)
		}
	})
}

// A device that was claimed for a command that is refused is idle as well.
func TestRefusedCommandsLeaveDevicesIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, Config{Max: 1})
		n.make(t, Request{Device: "m-1", Method: "reset"})
		if _, _, err := n.begin(&Request{Device: "m-2", Method: "reset"}, time.Minute, func(error) {}); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		if _, _, err := n.begin(&Request{Device: "m-1", Method: "reset"}, time.Minute, func(error) {}); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		if idle := n.wasIdle(); len(idle) != 1 || idle[0] != "m-2" {
			t.Errorf("idle: %v", idle)
		}
	})
}

// A claim brings a bounded number of ended commands.
func TestEndedCommandsOfOneDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, Config{})
		var last *Command
		for range mostEndedOf + 20 {
			last = n.make(t, Request{Device: "m-1", Method: "reset"})
			if _, err := n.cancel(last.ID, func(error) {}); err != nil {
				t.Fatal(err)
			}
			n.medium.sync()
			time.Sleep(time.Millisecond)
		}
		s := n.Stats()
		if s.States[Cancelled] != mostEndedOf || s.Forgotten != 20 {
			t.Errorf("kept %d, forgotten %d", s.States[Cancelled], s.Forgotten)
		}
		if _, err := n.Get(last.ID); err != nil {
			t.Errorf("the newest: %v", err)
		}
	})
}
