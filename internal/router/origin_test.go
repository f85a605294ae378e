package router

import (
	"errors"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// The node that takes a message is its origin, and stays it at the others.
func TestOrigin(t *testing.T) {
	r := New(Config{Node: 7}, store.NewMemory(store.Options{}))
	s := &receiver{room: 9}
	r.Subscribe("a", s, 1)
	for from, want := range map[uint16]uint16{0: 7, 3: 3} {
		m := &message.Message{Topic: "a", Payload: []byte("x"), Retain: true, Origin: message.Origin{Node: from, Via: message.ViaAPI}}
		if _, err := r.Publish(m, nil); err != nil {
			t.Fatal(err)
		}
		if got := s.got[len(s.got)-1].Origin; got != (message.Origin{Node: want, Via: message.ViaAPI}) {
			t.Errorf("from %d the origin is %+v", from, got)
		}
		kept, err := r.ListRetained(t.Context(), "a", "", 1, func(store.Kept) bool { return true })
		if err != nil || len(kept) != 1 || kept[0].Origin.Node != want {
			t.Errorf("from %d what is kept is %+v, %v", from, kept, err)
		}
	}
}

// few are the only IDs there are.
type few struct{ reserved int }

func (f *few) Reserve() (message.Range, error) {
	if f.reserved++; f.reserved > 2 {
		return message.Range{}, errors.New("no space left")
	}
	first := uint64(f.reserved) * 1000
	return message.Range{First: first, End: first + 2}, nil
}

// Rather than to give an ID twice, a message is refused.
func TestPublishWithoutIDs(t *testing.T) {
	defer func() {
		if err := message.StartIDs(message.NewClock(1), nil); err != nil {
			t.Error(err)
		}
	}()
	if err := message.StartIDs(new(few), nil); err != nil {
		t.Fatal(err)
	}
	r, s := newRouter(), &receiver{room: 9}
	r.Subscribe("a", s, 1)
	refused := 0
	for range 6 {
		_, err := r.Publish(&message.Message{Topic: "a", QoS: 1}, nil)
		if err != nil && !errors.Is(err, message.ErrNoIDs) {
			t.Error(err)
		}
		if err != nil {
			refused++
		}
	}
	if len(s.got) != 4 || refused != 2 || r.dropped()["no_ids"] != 2 {
		t.Errorf("%d delivered, %d refused, drops %v", len(s.got), refused, r.dropped())
	}
}
