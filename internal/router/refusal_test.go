package router

import (
	"errors"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// refuser refuses all messages.
type refuser struct{ err error }

func (r refuser) Deliver(*message.Message, message.QoS, *Publication) error { return r.err }

// TestRefusalNamesReason checks that a drop is counted for the reason that its receiver names, and that the publisher
// is told what it is like.
func TestRefusalNamesReason(t *testing.T) {
	r := New(Config{}, store.NewMemory(store.Options{}))
	r.Subscribe("a", refuser{&Refusal{StreamFull, "no room", ErrTooLate}}, message.ExactlyOnce)
	_, err := r.Publish(&message.Message{Topic: "a", QoS: message.AtLeastOnce}, nil)
	if !errors.Is(err, ErrTooLate) || err.Error() != "no room" || r.Drops[StreamFull].Load() != 1 || r.Drops[QueueFull].Load() != 0 {
		t.Errorf("%v, %d and %d drops", err, r.Drops[StreamFull].Load(), r.Drops[QueueFull].Load())
	}
}
