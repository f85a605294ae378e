package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/wire/mqtt"
)

// fleet is what all clients of a run share.
type fleet struct {
	// Static after construction.
	gateway  *gateway
	book     *book
	seed     uint64
	patience time.Duration // of commands
	pace     time.Duration // between two messages of a device
	group    *receiver     // of the shared subscription
	orders   *orders       // of the commander; nil: no commands
	streams  bool          // whether there are readers of the stream
	roamable []string      // filters to which devices subscribe for a while

	// Safe from any goroutine.
	steady atomic.Bool // nothing is cut, and nobody subscribes or gives commands
	calm   atomic.Bool // nobody begins anything new, at the end of the run
	large  atomic.Bool // messages are large, so that the disk fills
	cuts   atomic.Int64
}

// filter is what a device subscribes to.
type filter struct {
	text     string
	match    string    // the same without the group of a share
	receiver *receiver // who gets the messages
}

// window is how many messages a device has unacknowledged, fewer than any limit of the gateway.
const window = 16

// Topics are q/DEVICE/... for everybody, s/DEVICE/... for the group, r/DEVICE/... retained, w/DEVICE for wills.
const (
	common = "q/"
	shared = "s/"
	kept   = "r/"
	wills  = "w/"
)

// of is the filter of what a client publishes for everybody.
func of(client string) string { return common + client + "/#" }

// rand returns a client's own random numbers.
func (f *fleet) rand(client string) *rand.Rand {
	var h uint64 = 14695981039346656037 // FNV-1a
	for _, c := range []byte(client) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(f.seed, h))
}

// life is how long a device keeps a connection.
func (f *fleet) life(r *rand.Rand) time.Duration {
	return 300*time.Millisecond + time.Duration(r.ExpFloat64()*float64(4*time.Second))
}

// absence is how long a device stays away. Some stay long, so that much waits for them.
func (f *fleet) absence(r *rand.Rand) time.Duration {
	if r.IntN(6) == 0 {
		return time.Duration(r.Int64N(int64(20 * time.Second)))
	}
	return time.Duration(r.Int64N(int64(2 * time.Second)))
}

// padding is the size of a message.
func (f *fleet) padding(r *rand.Rand) int {
	switch {
	case f.large.Load():
		return 60_000
	case r.IntN(50) == 0:
		return r.IntN(20_000)
	default:
		return r.IntN(200)
	}
}

// pause waits, in the calm at the end of a run not long.
func (f *fleet) pause(ctx context.Context, d time.Duration) {
	const piece = 200 * time.Millisecond
	for ; d > 0 && ctx.Err() == nil; d -= piece {
		select {
		case <-time.After(min(d, piece)):
		case <-ctx.Done():
		}
		if f.calm.Load() {
			return
		}
	}
}

// elsewhere returns a filter that none of the filters has.
func (f *fleet) elsewhere(r *rand.Rand, filters []filter) string {
	for {
		other := f.roamable[r.IntN(len(f.roamable))]
		if !slices.ContainsFunc(filters, func(f filter) bool { return f.match == other }) {
			return other
		}
	}
}

// arrived notes a message that a client got.
func (f *fleet) arrived(client, topic string, payload []byte) {
	f.book.acknowledged() // now or soon
	r := f.group
	if !strings.HasPrefix(topic, shared) {
		r = f.book.receiver(client, 0)
	}
	n, err := numberOf(payload)
	if err != nil {
		f.book.fault(fmt.Sprintf("%s got %.20q on %s, which nobody sent", client, payload, topic))
		return
	}
	f.book.arrive(r, topic, n)
}

// numberOf returns the number in a payload.
func numberOf(payload []byte) (int, error) {
	digits, _, _ := strings.Cut(string(payload), " ")
	return strconv.Atoi(digits)
}

// run runs the devices until ctx ends. Two thirds of them speak MQTT, 3.1.1 and 5 in turn, the others JSON; one is a backend.
func (f *fleet) run(ctx context.Context, devices int) *sync.WaitGroup {
	f.group = f.book.receiver("$share/group", 1)
	names := make([]string, devices)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%02d", []string{"three", "five", "json"}[i%3], i)
		f.roamable = append(f.roamable, of(names[i]))
	}
	f.roamable = append(f.roamable, of("backend"))
	var all sync.WaitGroup
	if f.streams { // before the first message
		for i, name := range []string{"by-place", "by-event"} {
			s := &streamReader{fleet: f, name: name, remembers: i == 1, receiver: f.book.receiver(name, 1)}
			for _, filter := range streamFilters {
				about := f.book.subscribing(s.receiver, filter)
				f.book.note(&about.from)
			}
			all.Go(func() { s.run(ctx) })
		}
	}
	for i, name := range names {
		if i%3 == 2 {
			d := &jsonDevice{fleet: f, name: name, random: f.rand(name), topics: f.topics(name, 1), filters: f.filters(i, names, 1)}
			all.Go(func() { d.run(ctx) })
			continue
		}
		d := &mqttDevice{fleet: f, name: name, version: []mqtt.Version{mqtt.V4, mqtt.V5}[i%3], random: f.rand(name),
			topics: f.topics(name, 2), filters: f.filters(i, names, 2)}
		if f.orders != nil {
			d.filters = append(d.filters, f.calls(name))
		}
		if i%2 == 0 {
			d.will = f.book.topic(topicBook{name: wills + name, publisher: name, qos: byte(1 + i%4/2), unordered: true, will: true})
		}
		all.Go(func() { d.run(ctx) })
	}
	b := &backend{fleet: f, topic: f.book.topic(topicBook{name: common + "backend/1", publisher: "backend", qos: 1, streamed: true, backend: true})}
	all.Go(func() { b.run(ctx) })
	if f.orders != nil {
		c := &commander{fleet: f, devices: names, orders: f.orders}
		all.Go(func() { c.run(ctx) })
	}
	return &all
}

// topics adds the topics on which a device publishes, of QoS up to best.
func (f *fleet) topics(device string, best byte) []*topicBook {
	var list []*topicBook
	add := func(prefix string, qos byte, t topicBook) {
		t.name, t.publisher, t.qos = fmt.Sprintf("%s%s/%d", prefix, device, len(list)), device, qos
		list = append(list, f.book.topic(t))
	}
	add(common, 1, topicBook{streamed: true})
	add(common, best, topicBook{streamed: true})
	add(common, best, topicBook{})
	add(shared, 1, topicBook{unordered: true})
	add(shared, best, topicBook{unordered: true})
	add(kept, 1, topicBook{retained: true})
	add(kept, best, topicBook{retained: true})
	return list
}

// calls returns what an MQTT device subscribes to for commands.
func (f *fleet) calls(device string) filter {
	calls := "device/" + device + "/call/#"
	return filter{calls, calls, f.book.receiver(device+" calls", 1)}
}

// filters returns what device i subscribes to at first: the messages of two others; the first devices also the wills, the backend's
// messages and those of the group.
func (f *fleet) filters(i int, names []string, best byte) []filter {
	own := f.book.receiver(names[i], best)
	one := func(text string) filter { return filter{text, text, own} }
	list := []filter{one(of(names[(i+1)%len(names)])), one(of(names[(i+2)%len(names)]))}
	if i < 4 {
		list = append(list, one(of("backend")), one(wills+"#"))
	}
	if i >= 4 && i < 9 {
		list = append(list, filter{"$share/group/" + shared + "#", shared + "#", f.group})
	}
	return list
}
