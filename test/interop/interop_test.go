package interop

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// device is one implementation under test. It does what the examples in its language do.
type device struct {
	// greetings gets a value for each connection: whether it resumed a session.
	greetings <-chan bool
	// ready is closed when the gateway has acknowledged the subscription and the reading of QoS 1.
	ready <-chan struct{}
	// commands gets the commands in the order of their arrival.
	commands <-chan command
	// reconnect makes the device connect again after a cut.
	reconnect func()
	// left gets how the device ended after the call "leave".
	left <-chan error
}

// command is a message of QoS 1 as the device got it.
type command struct {
	ID      uint64 `json:"id"` // 0 if the device's library does not show it
	Payload struct {
		N   int  `json:"n"`
		Cut bool `json:"cut"`
	} `json:"payload"`
}

// TestDevices has each device play the same part, all at the same time.
func TestDevices(t *testing.T) {
	for name, start := range map[string]func(context.Context, *testing.T, string) *device{
		"node":   startNode,
		"python": startPython,
		"go":     startGo,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			id := name + "-" + rand.Text() // with -count, several runs share the gateway
			b := newBackend(ctx, t, id)
			play(b, start(ctx, t, id))
		})
	}
}

func play(b *backend, d *device) {
	begin(b, d)
	calls(b)
	resume(b, d)
	leave(b, d)
}

// begin: the device connects, subscribes, and publishes with QoS 0 and 1.
func begin(b *backend, d *device) {
	if receive(b.ctx, b.t, "hello", d.greetings) {
		b.t.Error("the first connection resumed a session")
	}
	b.awaitPresence(true)
	b.awaitReading(0, `{"celsius": 20.5}`)
	b.awaitReading(1, `{"celsius": 21}`)
	receive(b.ctx, b.t, "the acks", d.ready)
	b.command(`{"n": 1}`)
	d.await(b, 1)
	b.awaitAcknowledged()
}

// calls: the device answers one call, and does not know the other.
func calls(b *backend) {
	answer := b.call("sum", `[1, 2, 39]`)
	if answer.Error != nil || answer.GetText() != "42" {
		b.t.Errorf("sum answered %v", answer)
	}
	if answer := b.call("dance", `null`); answer.Error.GetCode() != "unknown_method" {
		b.t.Errorf("an unknown method answered %v", answer)
	}
}

// resume: unacknowledged messages arrive again with the same ids, then those that the device missed.
// Acknowledged messages never arrive again.
func resume(b *backend, d *device) {
	b.command(`{"n": 2, "cut": true}`)
	cut := d.await(b, 2)
	b.awaitPresence(false)
	b.command(`{"n": 3}`)
	d.back(b)
	if again := d.await(b, 2); again.ID != cut.ID {
		b.t.Errorf("command 2 had id %d and then %d", cut.ID, again.ID)
	}
	d.await(b, 3)
	b.awaitAcknowledged()

	b.command(`{"n": 4, "cut": true}`)
	d.await(b, 4)
	b.awaitPresence(false)
	d.back(b)
	d.await(b, 4) // and not 2 or 3
	b.command(`{"n": 5}`)
	d.await(b, 5)
}

// leave: the device closes its connection in order.
func leave(b *backend, d *device) {
	if answer := b.call("leave", `null`); answer.Error != nil {
		b.t.Errorf("leave answered %v", answer)
	}
	b.awaitPresence(false)
	if err := receive(b.ctx, b.t, "the device's end", d.left); err != nil {
		b.t.Errorf("the device ended: %v", err)
	}
}

// await asserts that the next command is n.
func (d *device) await(b *backend, n int) command {
	b.t.Helper()
	c := receive(b.ctx, b.t, "a command", d.commands)
	if c.Payload.N != n {
		b.t.Fatalf("command %d came, want %d", c.Payload.N, n)
	}
	return c
}

// back makes the device connect again and resume its session.
func (d *device) back(b *backend) {
	b.t.Helper()
	d.reconnect()
	b.awaitPresence(true)
	if !receive(b.ctx, b.t, "hello", d.greetings) {
		b.t.Error("the session was not resumed")
	}
}

// receive returns the next value of c, and fails if ctx ends before.
func receive[T any](ctx context.Context, t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-ctx.Done():
		t.Fatalf("waited too long for %s", what)
	}
	return v
}

func sameJSON(t *testing.T, got []byte, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Errorf("%q: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got %s, want %s", got, want)
	}
}
