// Package clients has the clients of a gateway whose store, node or machine is killed while they use it: devices of the SDK and of MQTT, and
// backends. What they know of each message is in an account.Book.
package clients

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/wire/mqtt"
	"github.com/longline/longline/test/account"
)

// Gateways are where the clients of a run connect: one gateway, or a cluster. The methods are called from any goroutine.
type Gateways interface {
	// Wait waits until there is one to connect to.
	Wait(ctx context.Context) error
	// Dial connects a client to an address of one of them.
	Dial(ctx context.Context, client string, to func(Addresses) string) (net.Conn, error)
}

// Fleet is what all clients of a run share.
type Fleet struct {
	// Static after construction.
	Gateways       Gateways
	Book           *account.Book
	Seed           uint64
	Patience       time.Duration // of commands
	Pace           time.Duration // between two messages of a device
	Stay           time.Duration // how long a device keeps a connection, on average
	Direct         bool          // whether a backend publishes to single devices
	BackendPace    time.Duration // between two messages of a backend, or two commands
	Orders         *Orders       // of the commander; nil: no commands
	Wills          bool          // whether each connection that ends without DISCONNECT has to be followed by its will
	Retry          time.Duration // how long a device waits at most when it cannot connect
	ConnectTimeout time.Duration // how long a device waits for the answer to CONNECT
	Superseded     *Superseded   // connections that devices leave open when they connect elsewhere; nil: they close them

	// Owned by Run.
	group    *account.Receiver // of the shared subscription
	roamable []string          // filters to which devices subscribe for a while

	// Safe from any goroutine.
	Steady atomic.Bool // nothing is cut, and nobody subscribes or gives commands
	Calm   atomic.Bool // nobody begins anything new, at the end of the run
	Large  atomic.Bool // messages are large, so that the disk fills
	Cuts   atomic.Int64
}

// filter is what a device subscribes to.
type filter struct {
	text     string
	match    string            // the same without the group of a share
	receiver *account.Receiver // who gets the messages
}

// window is how many messages a device has unacknowledged, fewer than any limit of the gateway.
const window = 16

// Topics are q/DEVICE/... for everybody, s/DEVICE/... for the group, r/DEVICE/... retained, w/DEVICE for wills.
const (
	Common = "q/"
	shared = "s/"
	kept   = "r/"
	wills  = "w/"
)

// of is the filter of what a client publishes for everybody.
func of(client string) string { return Common + client + "/#" }

// Rand returns a client's own random numbers.
func (f *Fleet) Rand(client string) *rand.Rand {
	var h uint64 = 14695981039346656037 // FNV-1a
	for _, c := range []byte(client) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(f.Seed, h))
}

// Life is how long a device keeps a connection.
func (f *Fleet) Life(r *rand.Rand) time.Duration {
	return 300*time.Millisecond + time.Duration(r.ExpFloat64()*float64(f.Stay))
}

// absence is how long a device stays away. Some stay long, so that much waits for them.
func (f *Fleet) absence(r *rand.Rand) time.Duration {
	if r.IntN(6) == 0 {
		return time.Duration(r.Int64N(int64(20 * time.Second)))
	}
	return time.Duration(r.Int64N(int64(2 * time.Second)))
}

// padding is the size of a message.
func (f *Fleet) padding(r *rand.Rand) int {
	switch {
	case f.Large.Load():
		return 60_000
	case r.IntN(50) == 0:
		return r.IntN(20_000)
	default:
		return r.IntN(200)
	}
}

// Pause waits, in the calm at the end of a run not long.
func (f *Fleet) Pause(ctx context.Context, d time.Duration) {
	const piece = 200 * time.Millisecond
	for ; d > 0 && ctx.Err() == nil; d -= piece {
		select {
		case <-time.After(min(d, piece)):
		case <-ctx.Done():
		}
		if f.Calm.Load() {
			return
		}
	}
}

// elsewhere returns a filter that none of the filters has.
func (f *Fleet) elsewhere(r *rand.Rand, filters []filter) string {
	for {
		other := f.roamable[r.IntN(len(f.roamable))]
		if !slices.ContainsFunc(filters, func(f filter) bool { return f.match == other }) {
			return other
		}
	}
}

// arrived notes a message that a client got.
func (f *Fleet) arrived(client, topic string, payload []byte) {
	f.Book.Acknowledged() // now or soon
	r := f.group
	if !strings.HasPrefix(topic, shared) {
		r = f.Book.Receiver(client, 0)
	}
	n, err := NumberOf(payload)
	if err != nil {
		f.Book.Fault(fmt.Sprintf("%s got %.20q on %s, which nobody sent", client, payload, topic))
		return
	}
	f.Book.Arrive(r, topic, n)
}

// NumberOf returns the number in a payload.
func NumberOf(payload []byte) (int, error) {
	digits, _, _ := strings.Cut(string(payload), " ")
	return strconv.Atoi(digits)
}

// Names returns the names of the devices.
func (f *Fleet) Names(devices int) []string {
	names := make([]string, devices)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%02d", []string{"three", "five", "json"}[i%3], i)
	}
	return names
}

// Run starts devices, which end with ctx. Two thirds of them speak MQTT, 3.1.1 and 5 in turn, the others JSON; one is a backend.
func (f *Fleet) Run(ctx context.Context, devices int, all *sync.WaitGroup) {
	f.group = f.Book.Receiver("$share/group", 1)
	names := f.Names(devices)
	for _, name := range names {
		f.roamable = append(f.roamable, of(name))
	}
	f.roamable = append(f.roamable, of("backend"))
	for i, name := range names {
		if i%3 == 2 {
			d := &jsonDevice{Fleet: f, name: name, random: f.Rand(name), topics: f.topics(name, 1), filters: f.filters(i, names, 1)}
			all.Go(func() { d.run(ctx) })
			continue
		}
		d := &mqttDevice{Fleet: f, name: name, version: []mqtt.Version{mqtt.V4, mqtt.V5}[i%3], random: f.Rand(name),
			topics: f.topics(name, 2), filters: f.filters(i, names, 2)}
		if f.Orders != nil {
			d.filters = append(d.filters, f.calls(name))
		}
		if i%2 == 0 {
			d.will = f.Book.Topic(account.Topic{Name: wills + name, Publisher: name, QoS: byte(1 + i%4/2), Unordered: true, Will: true})
		}
		all.Go(func() { d.run(ctx) })
	}
	b := &backend{Fleet: f, name: "backend", topics: []*account.Topic{
		f.Book.Topic(account.Topic{Name: Common + "backend/1", Publisher: "backend", QoS: 1, Streamed: true, Backend: true})}}
	all.Go(func() { b.run(ctx) })
	if f.Direct {
		b := &backend{Fleet: f, name: "direct"}
		for _, name := range names {
			b.topics = append(b.topics, f.Book.Topic(account.Topic{Name: downTo(name), Publisher: b.name, QoS: 1, Backend: true}))
		}
		all.Go(func() { b.run(ctx) })
	}
	if f.Orders != nil {
		c := &commander{Fleet: f, devices: names, orders: f.Orders}
		all.Go(func() { c.run(ctx) })
	}
}

// topics adds the topics on which a device publishes, of QoS up to best.
func (f *Fleet) topics(device string, best byte) []*account.Topic {
	var list []*account.Topic
	add := func(prefix string, qos byte, t account.Topic) {
		t.Name, t.Publisher, t.QoS = fmt.Sprintf("%s%s/%d", prefix, device, len(list)), device, qos
		list = append(list, f.Book.Topic(t))
	}
	add(Common, 1, account.Topic{Streamed: true})
	add(Common, best, account.Topic{Streamed: true})
	add(Common, best, account.Topic{})
	add(shared, 1, account.Topic{Unordered: true})
	add(shared, best, account.Topic{Unordered: true})
	add(kept, 1, account.Topic{Retained: true})
	add(kept, best, account.Topic{Retained: true})
	return list
}

// downTo is the topic of what the backend publishes to a single device.
func downTo(device string) string { return "device/" + device + "/down" }

// calls returns what an MQTT device subscribes to for commands.
func (f *Fleet) calls(device string) filter {
	calls := "device/" + device + "/call/#"
	return filter{calls, calls, f.Book.Receiver(device+" calls", 1)}
}

// filters returns what device i subscribes to at first: the messages of two others; the first devices also the wills, the backend's
// messages and those of the group.
func (f *Fleet) filters(i int, names []string, best byte) []filter {
	own := f.Book.Receiver(names[i], best)
	one := func(text string) filter { return filter{text, text, own} }
	list := []filter{one(of(names[(i+1)%len(names)])), one(of(names[(i+2)%len(names)]))}
	if f.Direct {
		list = append(list, one(downTo(names[i])))
	}
	if i < 4 {
		list = append(list, one(of("backend")), one(wills+"#"))
	}
	if i >= 4 && i < 9 {
		list = append(list, filter{"$share/group/" + shared + "#", shared + "#", f.group})
	}
	return list
}
