package router

import (
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// fakeFar is the other nodes, of which there are none.
type fakeFar struct{ changed []string }

func (*fakeFar) Position() uint64                 { return 1 }
func (f *fakeFar) Changed(filter string)          { f.changed = append(f.changed, filter) }
func (*fakeFar) WhenAnnounced(f func(error))      { f(nil) }
func (*fakeFar) Space(_ string, hits []Hit) []Hit { return hits }

// counter counts what it gets.
type counter struct{ got int }

func (c *counter) Deliver(*message.Message, message.QoS, *Publication) error {
	c.got++
	return nil
}

// ownCounter is a counter of this node alone.
type ownCounter struct{ counter }

func (*ownCounter) OwnNode() {}

// A stream gets what is published on its node alone, and no other node hears of it.
func TestSubscribersOfTheirOwnNode(t *testing.T) {
	far := new(fakeFar)
	r := New(Config{Far: far}, store.NewMemory(store.Options{}))
	stream, inbox := new(ownCounter), new(counter)
	r.Subscribe("t/#", stream, message.ExactlyOnce)
	if len(far.changed) > 0 || r.Wants("t/#") {
		t.Errorf("announced: %v", far.changed)
	}
	r.Subscribe("t/#", inbox, message.ExactlyOnce)
	if len(far.changed) != 1 || !r.Wants("t/#") {
		t.Errorf("an inbox beside it is not announced: %v", far.changed)
	}
	if _, err := r.Publish(&message.Message{Topic: "t/1"}, nil); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	r.PublishNear(&message.Message{Topic: "t/2"}, Came{}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if stream.got != 1 || inbox.got != 2 {
		t.Errorf("the stream has %d messages, the inbox %d; want 1 and 2", stream.got, inbox.got)
	}
	if !r.Unsubscribe("t/#", stream) || r.Unsubscribe("t/#", stream) {
		t.Error("Unsubscribe")
	}
}
