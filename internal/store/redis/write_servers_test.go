//go:build servers

package redis

import (
	"strconv"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/test/servers"
)

// A write that comes late changes nothing, when it was repeated and followed by another one.
func TestLateWrite(t *testing.T) {
	o := at(servers.Redis(t).Address())
	prefix := newPrefix()
	s, err := Open(t.Context(), store.Options{}, Options{
		Client: client(t, o), Link: newLink(t, o, prefix), Prefix: prefix, Node: "n", Owner: "n/1",
		Redirect: func(_, _ string, _ *message.Message, _ message.QoS, done func(error)) { done(nil) },
		Lost:     func(string, string, uint64) {},
	}, store.NewMemory(store.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	claimed := make(chan Claimed, 1)
	s.Claim("d", func(c Claimed, err error) {
		if err != nil {
			t.Error(err)
		}
		claimed <- c
	})
	epoch := (<-claimed).Epoch
	write := func(number uint64, kind store.Kind) {
		c := &changes{device: "d", epoch: epoch}
		m := message.Message{Topic: "t"}
		c.add(&store.Op{Kind: kind, Device: "d", Number: 1, QoS: 1, Message: m.Clone()})
		if err := s.client.Do(t.Context(), s.writeCommand(c.writes(nil, sameClock{}), number)).Error(); err != nil {
			t.Fatal(err)
		}
	}
	_, queue := s.keys("d")
	length := func() int64 {
		n, err := s.client.Do(t.Context(), s.client.B().Hlen().Key(queue).Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	write(100, store.OpPush)
	if length() != 1 {
		t.Error("nothing is written")
	}
	write(101, store.OpRemove)
	write(99, store.OpPush)
	write(100, store.OpPush)
	if length() != 0 {
		t.Error("a late write is made")
	}
	epoch--
	write(102, store.OpPush)
	if length() != 0 {
		t.Error("a write of another epoch is made")
	}
	if e, err := s.client.Do(t.Context(), s.client.B().Hget().Key(prefix+"{d}:s").Field("e").Build()).ToString(); err != nil || e != strconv.FormatUint(epoch+1, 10) {
		t.Errorf("the epoch is %s, %v", e, err)
	}
	if now := uint64(time.Now().UnixMicro()); epoch+1 < now-uint64(time.Hour.Microseconds()) {
		t.Errorf("the epoch %d is no time", epoch+1)
	}
}
