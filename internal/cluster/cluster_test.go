package cluster

import (
	"testing"

	"github.com/longline/longline/internal/message"
)

func TestPublishToAnotherNode(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.join("a"), w.join("b"), w.join("c")
	var onB, onC sink
	b.router.Subscribe("fleet/#", &onB, message.AtLeastOnce)
	c.router.Subscribe("fleet/+/status", &onC, message.AtMostOnce)
	a.knows(b, c)
	for _, p := range []struct{ topic, payload string }{{"fleet/7/status", "1"}, {"fleet/7/other", "2"}, {"elsewhere", "3"}} {
		if err := a.publish(p.topic, p.payload, message.AtLeastOnce); err != nil {
			t.Fatal(err)
		}
	}
	onB.want(t, "fleet/7/status 1 1", "fleet/7/other 2 1")
	onC.want(t, "fleet/7/status 1 0")
	b.router.Unsubscribe("fleet/#", &onB)
	a.knows(b)
	if a.router.Wanted("fleet/7/other") {
		t.Error("what nobody wants any more is sent")
	}
}
