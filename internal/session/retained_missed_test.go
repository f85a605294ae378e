package session

import (
	"errors"
	"slices"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// slowFar is a cluster in which other nodes know of subscriptions when the test says so.
type slowFar struct {
	position uint64
	waits    []func(error)
}

func (f *slowFar) Position() uint64                                               { return f.position }
func (*slowFar) Changed(string)                                                   {}
func (f *slowFar) WhenAnnounced(g func(error))                                    { f.waits = append(f.waits, g) }
func (*slowFar) Space(_ string, hits []router.Hit) []router.Hit                   { return hits }
func (*slowFar) Append(store.Change)                                              {}
func (*slowFar) Claim(_ string, done func(Claim, error))                          { done(Claim{Epoch: 1}, nil) }
func (*slowFar) Moved(string, Claim)                                              {}
func (*slowFar) Ended(string, uint64)                                             {}
func (*slowFar) Held() bool                                                       { return true }
func (*slowFar) WhenHeld(func(error))                                             {}
func (*slowFar) AskReceived(_, _ string, _ uint64, _ uint16, _ func(bool, error)) {}
func (*slowFar) Lives(string) bool                                                { return true }
func (*slowFar) Forward(_, _ string, _ *message.Message, _ message.QoS, _ *router.Claim) {
}

// A device gets what other nodes have retained before they knew of its subscription, once they know of it. What they retained after that they have sent.
func TestRetainedBeforeOthersKnow(t *testing.T) {
	far := &slowFar{position: 10}
	s := store.NewMemory(store.Options{RetainedLog: far})
	w := newWorldAround(t, Config{Owners: far}, router.New(router.Config{Far: far}, s), s)
	place := uint64(0)
	elsewhere := func(topic, payload string, at uint64) {
		place++
		m := message.Message{Topic: topic, Payload: []byte(payload)}
		s.ApplyChange(store.Change{Topic: topic, Message: m.Clone(), Place: place, At: at})
	}
	elsewhere("a/early", "1", 5)
	c := &conn{world: w, room: -1}
	err := errors.New("not attached")
	w.manager.Attach("d", &c.link, c, Options{}, func(_ Attached, e error) { err = e })
	for c.step() {
	}
	if err != nil {
		t.Fatal(err)
	}
	c.sub(1, 0, "a/#", "b/#")
	c.unsub(2, "b/#")
	elsewhere("a/missed", "1", 9)
	elsewhere("a/sent", "1", 15) // that node knew of the subscription, and has sent it
	elsewhere("b/missed", "1", 9)
	elsewhere("other", "1", 9)
	w.retain("a/near", "1")
	for c.step() {
	}
	if i := slices.IndexFunc(c.log, func(line string) bool { return line[1] == '/' }); i >= 0 {
		t.Errorf("before the others know: %q", c.log)
	}
	far.position = 12
	for len(far.waits) > 0 {
		f := far.waits[0]
		far.waits = far.waits[1:]
		f(nil)
	}
	for c.step() {
	}
	got := slices.DeleteFunc(slices.Clone(c.log), func(line string) bool { return line[1] != '/' })
	slices.Sort(got)
	if want := []string{"a/early=1 qos 0", "a/missed=1 qos 0", "a/near=1 qos 0"}; !slices.Equal(got, want) {
		t.Errorf("it gets %q, want %q; %q", got, want, c.log)
	}
}
