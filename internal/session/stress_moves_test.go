package session

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/wire"
)

// wanderer is a device that connects to one node after the other: what it has of messages, over all its connections.
type wanderer struct {
	t     *testing.T
	name  string
	mqtt  bool
	loops *sync.WaitGroup
	all   []*visit // connections

	mu      sync.Mutex
	present *visit
	known   map[uint16]bool // identifiers of QoS 2 messages that were not released
	seen    map[string]int  // by topic and payload
}

// visit is one of its connections.
type visit struct {
	*looped
	of   *wanderer
	node *node
}

// exchangingVisit is one with packet identifiers.
type exchangingVisit struct{ *visit }

func newWanderer(t *testing.T, name string, mqtt bool, loops *sync.WaitGroup) *wanderer {
	return &wanderer{t: t, name: name, mqtt: mqtt, loops: loops, known: map[uint16]bool{}, seen: map[string]int{}}
}

// goes connects the device to a node, and reports whether it got in.
func (w *wanderer) goes(n *node) bool {
	v := &visit{of: w, node: n}
	v.looped = newLooped(w.loops, v.take)
	w.all = append(w.all, v)
	var conn Conn = v
	if w.mqtt {
		conn = exchangingVisit{v}
	}
	attached := make(chan error, 1)
	v.Do(func() {
		w.mu.Lock()
		w.present = v // from here on it hears of no older connection
		w.mu.Unlock()
		n.manager.Attach(w.name, &v.link, conn, Options{ReceiveMaximum: 8}, func(_ Attached, err error) {
			if attached <- err; err == nil {
				v.link.Flush(true)
			}
		})
	})
	select {
	case err := <-attached:
		return err == nil
	case <-time.After(30 * time.Second):
		w.t.Fatal("a connection was neither attached nor refused")
		return false
	}
}

// Close ends the connection, as the gateway does.
func (v *visit) Close(why *wire.Close) {
	v.Do(func() {
		v.closed.Store(true)
		v.node.manager.Detach(&v.link, why.Label)
	})
}

// take is what a device without packet identifiers does with a message.
func (v *visit) take(m *message.Message, _ message.QoS) {
	w := v.of
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.present != v {
		return
	}
	w.seen[m.Topic+"="+string(m.Payload)]++
	if id := m.ID; rand.IntN(20) > 0 {
		v.Do(func() { _ = v.link.Handle(ackOf(id)) })
	}
}

// SendPacket is what a device with packet identifiers does with a message.
func (v exchangingVisit) SendPacket(m *message.Message, q message.QoS, id uint16, _ bool) bool {
	w := v.of
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.present != v.visit:
	case q == message.AtLeastOnce:
		w.seen[m.Topic+"="+string(m.Payload)]++
		v.Do(func() { _ = v.link.Acked(id) })
	default:
		if !w.known[id] {
			w.known[id] = true
			w.seen[m.Topic+"="+string(m.Payload)]++
		}
		if rand.IntN(20) > 0 {
			v.Do(func() {
				if found, _ := v.link.Received(id, false); found {
					v.link.WhenSafe(func() { v.Release(id) })
				}
			})
		}
	}
	return true
}

func (v exchangingVisit) Release(id uint16) {
	w := v.of
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.present != v.visit {
		return
	}
	delete(w.known, id)
	if rand.IntN(20) > 0 {
		v.Do(func() { _ = v.link.Completed(id) })
	}
}

// subscribes subscribes the device on its present connection.
func (w *wanderer) subscribes(filters ...string) {
	w.t.Helper()
	v, done := w.present, make(chan struct{})
	v.Do(func() {
		for _, f := range filters {
			if err := v.link.Subscribe(f, message.ExactlyOnce); err != nil {
				w.t.Error(err)
			}
		}
		v.link.WhenSubscribed(func() { close(done) })
	})
	<-done
}

// publishes publishes numbered messages on one node after the other, and waits for each answer. It returns how many were taken.
func (x *cluster) publishes(t *testing.T, topic string, count int) {
	for i := 1; i <= count; i++ {
		n := x.nodes[rand.IntN(len(x.nodes))]
		taken := make(chan error, 1)
		m := &message.Message{Topic: topic, Payload: strconv.AppendInt(nil, int64(i), 10), QoS: message.ExactlyOnce}
		var got router.Result
		var err error
		n.publishes(func() {
			got, err = n.router.PublishFor(m, router.Publisher{NoDeadline: true, Done: func(err error) { taken <- err }})
		})
		if got.Later {
			err = <-taken
		}
		if err != nil {
			t.Errorf("%s=%d: %v", topic, i, err)
		}
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond) // not a wait for a state: how often it publishes
	}
}

// Devices of both kinds go from node to node while messages flow for their subscriptions and for their own space. None that was acknowledged to
// its publisher is lost. If a device does not leave a node before its session has settled there, messages of QoS 2 come once.
func TestStressMoves(t *testing.T) {
	for _, test := range []struct {
		name string
		calm bool
	}{{"calm", true}, {"wild", false}} {
		t.Run(test.name, func(t *testing.T) { stressMoves(t, test.calm) })
	}
}

func stressMoves(t *testing.T, calm bool) {
	const publishers, messages, devices = 3, 80, 4
	x := newCluster(t, Config{InFlight: 8}, "a", "b", "c")
	x.pause = func() {
		if rand.IntN(3) == 0 {
			time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond) // not a wait for a state: how slow a step is
		} else {
			runtime.Gosched()
		}
	}
	var loops, publishing, moving sync.WaitGroup
	var all []*wanderer
	for i := range devices {
		w := newWanderer(t, "d"+strconv.Itoa(i), i%2 == 1, &loops)
		for !w.goes(x.nodes[i%3]) {
		}
		w.subscribes("p/+", "device/"+w.name+"/in")
		all = append(all, w)
	}
	x.settled()
	topics := []string{}
	for p := range publishers {
		topics = append(topics, "p/"+strconv.Itoa(p))
	}
	for _, w := range all {
		topics = append(topics, "device/"+w.name+"/in")
	}
	for _, topic := range topics {
		publishing.Go(func() { x.publishes(t, topic, messages) })
	}
	stop := make(chan struct{})
	for _, w := range all {
		moving.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				w.goes(x.nodes[rand.IntN(3)])
				if calm {
					x.deviceSettled(w.name)
				}
				time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond) // not a wait for a state: how long a connection lasts
			}
		})
	}
	publishing.Wait()
	close(stop)
	moving.Wait()
	for _, w := range all {
		x.collects(t, w, messages, calm && w.mqtt, topics[:publishers]...)
		x.collects(t, w, messages, calm && w.mqtt, "device/"+w.name+"/in")
	}
	for _, w := range all {
		for _, v := range w.all {
			v.posts <- nil
		}
	}
	loops.Wait()
	x.close()
	for _, n := range x.nodes {
		expect(t, "drops on "+n.name, fmt.Sprint(n.drops()), "map[]")
	}
	visits := 0
	for _, w := range all {
		visits += len(w.all)
	}
	t.Logf("%d connections; %d messages redirected, %d forwarded, %d sent on", visits, x.redirected.Load(), x.forwarded.Load(), x.sentOn.Load())
}

// collects connects a device until it has all messages, and checks how often it got them.
func (x *cluster) collects(t *testing.T, w *wanderer, count int, once bool, topics ...string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		lacks, twice := "", ""
		w.mu.Lock()
		for _, topic := range topics {
			for i := 1; i <= count; i++ {
				key := topic + "=" + strconv.Itoa(i)
				switch n := w.seen[key]; {
				case n == 0:
					lacks = key
				case n > 1 && once:
					twice = key
				}
			}
		}
		w.mu.Unlock()
		if twice != "" {
			t.Errorf("%s got %s twice", w.name, twice)
			return
		}
		if lacks == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s has not got %s", w.name, lacks)
			return
		}
		w.goes(x.nodes[0])
		time.Sleep(20 * time.Millisecond) // not a wait for a state: how long a connection lasts
	}
}

// deviceSettled waits until no shadow of a device is left.
func (x *cluster) deviceSettled(device string) {
	for deadline := time.Now().Add(30 * time.Second); ; {
		busy := false
		for _, n := range x.nodes {
			n.mu.Lock()
			_, moved := n.moved[device]
			n.mu.Unlock()
			busy = busy || moved || len(n.manager.shadows.of(device)) > 0
		}
		if s := x.node(x.owner(device)).manager.session(device); !busy && s != nil {
			s.mu.Lock()
			busy = s.claim.since == unsettled
			s.mu.Unlock()
		}
		if !busy {
			return
		}
		if time.Now().After(deadline) {
			x.t.Error("a device does not settle")
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}
