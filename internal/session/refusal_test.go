package session

import (
	"fmt"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/internal/wire"
)

// moody is a store that takes no message while told is set.
type moody struct {
	storetest.Whole
	told error
}

func (m *moody) Err() error { return m.told }

// A device gets no answer to three publications: the first one waits, the second one is refused, and the third one comes when the store is well
// again. Then its connection ends, and it sends all of them again.
//
// If it cannot be told refusals, it takes the second one for one that is on its way: nothing is taken behind it, so that the order is kept. If it can
// be told, the third one is taken, and the order is lost with the refusal.
func TestRefusalIsLost(t *testing.T) {
	const two, three, none = "b=2 qos 1", "b=3 qos 1", "b=0 qos 0"
	for _, c := range []struct {
		qos                message.QoS
		noRefusals         bool
		before, afterwards []string
	}{
		{1, true, []string{none}, []string{two, three}},
		{2, true, []string{none}, []string{two, three}},
		{1, false, []string{three, none}, []string{two, three}},
		{2, false, []string{three, none}, []string{two}},
	} {
		s := &moody{Whole: store.NewMemory(store.Options{Queue: store.Limits{Count: 1}})}
		w := newWorldOn(t, Config{}, s)
		receiver := w.connect("receiver", Options{})
		receiver.sub(1, 1, "a")
		w.publish("a", "it has no room for more", 1)
		b := w.observe("b")

		d := w.client("d", Options{NoRefusals: c.noRefusals})
		d.pub(1, "a", "1", c.qos)
		s.told = errBroken
		d.pub(2, "b", "2", c.qos)
		s.told = nil
		d.pub(3, "b", "3", c.qos)
		d.pub(0, "b", "0", 0)
		d.saw(fresh)
		b.saw(t, c.before...)

		d.leave("reset")
		d = w.client("d", Options{NoRefusals: c.noRefusals})
		for i, topic := range []string{"a", "b", "b"} {
			d.handle(&wire.Packet{Op: wire.Pub, ID: uint64(i + 1), Again: true,
				Message: message.Message{Topic: topic, Payload: fmt.Append(nil, i+1), QoS: c.qos}})
		}
		d.saw(resumed)
		b.saw(t, c.afterwards...)
	}
}
