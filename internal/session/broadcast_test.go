package session

import (
	"fmt"
	"testing"

	"github.com/longline/longline/internal/message"
)

// A device with a shared subscription is reached by what it shares, and as a member of its
// group.
func TestBroadcastToShares(t *testing.T) {
	w := newWorld(t, Config{})
	w.connect("plain", Options{}).sub(1, 1, "jobs/#")
	w.connect("member", Options{}).sub(1, 1, "$share/g/jobs/+")
	w.connect("other", Options{}).sub(1, 1, "$share/h/rest/+")
	for filter, want := range map[string]int{
		"jobs/1":          2,
		"#":               3,
		"rest/1":          1,
		"+":               1,
		"g/jobs/1":        0,
		"$share/g/jobs/1": 1,
		"$share/h/jobs/1": 0,
	} {
		m := (&message.Message{Topic: "t", QoS: 1}).Clone()
		expect(t, filter, w.broadcast(m, filter), want)
	}
}

// Devices of one loop are reached one after the other, so that it is woken once for many.
func TestBroadcastLoopByLoop(t *testing.T) {
	w := newWorld(t, Config{})
	for i, loop := range []int{2, 0, 1, 2, 0, 1} {
		c := &conn{index: loop, world: w, room: -1}
		c.attach(string(rune('a'+i)), Options{})
	}
	var order []int
	for _, hit := range w.manager.receivers(message.AtMostOnce, "") {
		order = append(order, hit.Subscriber.(*Session).link.conn.Loop().index)
	}
	expect(t, "loops", fmt.Sprint(order), "[0 0 1 1 2 2]")
}
