package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
	"github.com/longline/longline/test/clients"
)

// lightCommand runs many light devices in a process of their own, because one process has too few descriptors for all. It reads orders from its input, one line
// each, and writes a tally four times a second:
//
//	nodes ADDRESS...   where to connect from now on
//	patience DURATION  how long a ping may be unanswered; then the device connects elsewhere, and leaves the connection open
//	end                write what has arrived, and end
type lightCommand struct {
	First int `help:"Number of the first device."`
	Count int `help:"Number of devices."`
}

// tally is what light devices have counted. A connection that ended was ended by the gateway, or with it.
type tally struct {
	Connected, Accepted, Resumed, Ended, Impatient int64
	Superseded, Open, Late                         int            // old connections, those that are open, and what came on them long after
	Kinds                                          map[string]int // of Late
	Arrived                                        map[string]int `json:",omitempty"` // "DEVICE NUMBER" -> how often, at the end
}

// light is all devices of the process.
type light struct {
	superseded *clients.Superseded
	nodes      atomic.Pointer[[]string]
	patience   atomic.Int64

	connected, accepted, resumed, ended, impatient atomic.Int64

	mu      sync.Mutex
	arrived map[string]int
}

func lightName(n int) string { return fmt.Sprintf("light-%d", n) }

// Run runs the devices until the input ends.
func (o *lightCommand) Run(ctx context.Context) error {
	start := time.Now()
	l := &light{superseded: clients.NewSuperseded(func() time.Duration { return time.Since(start) }), arrived: make(map[string]int)}
	l.nodes.Store(new([]string))
	l.patience.Store(int64(time.Hour))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go l.tell(ctx, os.Stdout)
	for n := range o.Count {
		go (&lightDevice{light: l, name: lightName(o.First + n)}).run(ctx)
	}
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		words := strings.Fields(orders.Text())
		switch words[0] {
		case "nodes":
			list := words[1:]
			l.nodes.Store(&list)
		case "patience":
			d, err := time.ParseDuration(words[1])
			if err != nil {
				return err
			}
			l.patience.Store(int64(d))
		case "end":
			cancel()
			t := l.tally()
			l.mu.Lock()
			t.Arrived = maps.Clone(l.arrived)
			l.mu.Unlock()
			return json.NewEncoder(os.Stdout).Encode(t)
		}
	}
	return orders.Err()
}

// tell writes tallies.
func (l *light) tell(ctx context.Context, w io.Writer) {
	for sleep(ctx, 250*time.Millisecond) {
		t := l.tally()
		l.mu.Lock()
		_ = json.NewEncoder(w).Encode(t) // without a reader there is nobody to tell
		l.mu.Unlock()
	}
}

func (l *light) tally() tally {
	t := tally{Connected: l.connected.Load(), Accepted: l.accepted.Load(), Resumed: l.resumed.Load(), Ended: l.ended.Load(), Impatient: l.impatient.Load()}
	count, open, _, late := l.superseded.Report()
	t.Superseded, t.Open, t.Kinds = count, len(open), make(map[string]int)
	for _, one := range late {
		if one.At-one.Accepted > toldTime {
			t.Late++
			kind, _, _ := strings.Cut(one.What, " ")
			t.Kinds[kind]++
		}
	}
	return t
}

// lightDevice subscribes to what is published to it alone, and takes it with QoS 1.
type lightDevice struct {
	*light
	name  string
	conn  *clients.MQTTConn
	stale *clients.MQTTConn // left open
	last  string            // the node of the last connection
}

var errImpatient = errors.New("a ping is not answered")

func (d *lightDevice) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := d.connect(ctx); err != nil {
			sleep(ctx, 200*time.Millisecond+time.Duration(rand.Int64N(int64(time.Second))))
			continue
		}
		d.connected.Add(1)
		err := d.serve(ctx)
		d.connected.Add(-1)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errImpatient):
			d.impatient.Add(1)
			d.stale = d.conn
			continue
		default:
			d.ended.Add(1)
		}
		d.conn.Close(false)
		sleep(ctx, time.Duration(rand.Int64N(int64(500*time.Millisecond))))
	}
}

// connect connects to a node, not to the last one if there is another.
func (d *lightDevice) connect(ctx context.Context) error {
	list := slices.Clone(*d.nodes.Load())
	if len(list) > 1 {
		list = slices.DeleteFunc(list, func(node string) bool { return node == d.last })
	}
	if len(list) == 0 {
		return errors.New("there are no nodes")
	}
	d.last = list[rand.IntN(len(list))]
	conn, err := net.DialTimeout("tcp", d.last, 3*time.Second)
	if err != nil {
		return err
	}
	c := clients.NewMQTTConn(conn, mqtt.V5)
	p := &mqtt.Packet{Type: mqtt.Connect, Connect: mqtt.Client{Version: mqtt.V5, ClientID: d.name, KeepAlive: 600}}
	p.Properties.SessionExpiry = 3600
	connack, err := exchange(ctx, c, p, mqtt.Connack)
	if err == nil && connack.Reason != mqtt.Success {
		err = errors.New(connack.Reason.String())
	}
	if err == nil && !connack.SessionPresent {
		_, err = exchange(ctx, c, &mqtt.Packet{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{
			{Filter: "device/" + d.name + "/down", QoS: message.AtLeastOnce}}}, mqtt.Suback)
	}
	if err != nil {
		c.Close(false)
		return err
	}
	if d.accepted.Add(1); connack.SessionPresent {
		d.resumed.Add(1)
	}
	if d.stale != nil {
		d.stale.Supersede(d.superseded, d.name)
		d.stale = nil
	}
	d.conn = c
	return nil
}

// exchange sends a packet and waits for its answer.
func exchange(ctx context.Context, c *clients.MQTTConn, p *mqtt.Packet, want mqtt.Type) (*mqtt.Packet, error) {
	if err := c.Send(p); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := c.Next(ctx)
	if err == nil && answer.Type != want {
		err = fmt.Errorf("%v instead of %v", answer.Type, want)
	}
	return answer, err
}

// serve takes messages until the connection ends, or a ping is not answered in time.
func (d *lightDevice) serve(ctx context.Context) error {
	const every = 5 * time.Second
	ping := time.NewTicker(every + time.Duration(rand.Int64N(int64(time.Second))))
	defer ping.Stop()
	answered := time.Now()
	for {
		select {
		case p, ok := <-d.conn.Packets:
			if !ok {
				return d.conn.Err
			}
			answered = time.Now()
			if p.Type != mqtt.Publish {
				continue
			}
			number, _, _ := strings.Cut(string(p.Payload), " ")
			d.mu.Lock()
			d.arrived[d.name+" "+number]++
			d.mu.Unlock()
			if err := d.conn.Send(&mqtt.Packet{Type: mqtt.Puback, ID: p.ID}); err != nil {
				return err
			}
		case <-ping.C:
			if time.Since(answered) > every+time.Duration(d.patience.Load()) {
				return errImpatient
			}
			if err := d.conn.Send(&mqtt.Packet{Type: mqtt.Pingreq}); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
