package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/wire/mqtt"
)

// Conn is a connection to a broker, after CONNACK. Its methods are safe from any goroutine.
//
// It has two goroutines. The reader reads packets and gives acknowledgements to those who wait for them. The writer writes what the others have
// appended, so that what comes meanwhile goes with one call, and looks after the time: whether the broker is there, whether it acknowledges.
type Conn struct {
	// Static after Connect.
	Resumed   bool // the broker had the session
	Limits    Limits
	broker    *Broker
	session   Session
	socket    net.Conn
	began     time.Time
	keepAlive time.Duration // 0 means that nobody asks
	ids       chan uint16   // those that no publication has; as many as Limits.Unanswered
	codes     chan []mqtt.Code
	subscribe chan struct{} // has room for one: the SUBSCRIBE that waits for its answer
	kick      chan struct{} // has room for one: there is something to write
	gone      chan struct{} // closed when the connection has ended
	running   sync.WaitGroup

	// Owned by the reader.
	decoder mqtt.Decoder
	buffer  []byte // read and not decoded yet
	read    int    // of buffer
	skip    int    // bytes of an oversized publication that are still to come

	heard atomic.Int64 // when something came, in nanoseconds since began
	busy  atomic.Bool  // OnPublish or OnOversized runs

	mu       sync.Mutex
	err      error  // why it ended
	out      []byte // to be written
	flight   int    // bytes that are being written
	wrote    chan struct{}
	waiting  []waiting // of publications, by identifier
	open     int       // how many of them wait
	progress time.Time // when the last one was acknowledged, or the first began to wait
}

// ErrClosed is the error of a connection that Close has ended.
var ErrClosed = errors.New("the connection is closed")

const (
	// subscribeID is the identifier of SUBSCRIBE. It is none of Conn.ids.
	subscribeID = 0xFFFF
	// mostOut bounds the bytes that wait to be written: beyond, publishers wait.
	mostOut = 256 << 10
	// firstBuffer is the size of a reader's buffer until a packet is larger.
	firstBuffer = 16 << 10
)

// start starts the goroutines.
func (c *Conn) start() {
	c.kick, c.gone, c.wrote = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	c.subscribe, c.codes = make(chan struct{}, 1), make(chan []mqtt.Code, 1)
	c.ids, c.waiting = make(chan uint16, c.Limits.Unanswered), make([]waiting, c.Limits.Unanswered+1)
	for id := range c.Limits.Unanswered {
		c.ids <- uint16(id + 1)
	}
	c.running.Go(func() { c.end(c.readAll()) })
	c.running.Go(func() { c.end(c.writeAll()) })
}

// Done returns a channel that is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.gone }

// Err returns why the connection has ended, nil if it has not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection, with DISCONNECT if that can be written soon. It returns when the goroutines have ended, so OnPublish must
// not call it, and must return soon.
func (c *Conn) Close() {
	c.append([]byte{byte(mqtt.Disconnect) << 4, 0})
	c.awaitWrite(byeTime)
	c.end(ErrClosed)
	c.running.Wait()
}

// byeTime is how long Close waits until DISCONNECT is written.
const byeTime = 100 * time.Millisecond

// awaitWrite waits until everything is written.
func (c *Conn) awaitWrite(patience time.Duration) {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		c.mu.Lock()
		wrote, left := c.wrote, len(c.out)+c.flight
		c.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-wrote:
		case <-c.gone:
			return
		case <-late.C:
			return
		}
	}
}

// end ends the connection. The first call says why.
func (c *Conn) end(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
		close(c.gone)
	}
	c.mu.Unlock()
	if first {
		_ = c.socket.Close()
	}
}

// append gives bytes to the writer.
func (c *Conn) append(packet []byte) {
	c.mu.Lock()
	c.out = append(c.out, packet...)
	c.mu.Unlock()
	c.wake()
}

// wake wakes the writer.
func (c *Conn) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// writeAll is the writer.
func (c *Conn) writeAll() error {
	ticker := time.NewTicker(c.tick())
	defer ticker.Stop()
	var spare []byte
	said := time.Now() // when something was written
	for {
		select {
		case <-c.gone:
			return nil
		case <-c.kick:
		case now := <-ticker.C:
			if err := c.checkTime(now); err != nil {
				return err
			}
			if c.keepAlive > 0 && (now.Sub(said) >= c.keepAlive/2 || now.Sub(c.lastHeard()) >= c.keepAlive/2) {
				c.append([]byte{byte(mqtt.Pingreq) << 4, 0})
			}
		}
		n, err := c.writeOut(&spare)
		if err != nil {
			return err
		}
		if n > 0 {
			said = time.Now()
		}
	}
}

// writeOut writes what there is, and returns how many bytes that were. spare is its second buffer.
func (c *Conn) writeOut(spare *[]byte) (n int, err error) {
	for {
		c.mu.Lock()
		if len(c.out) == 0 {
			c.mu.Unlock()
			return n, nil
		}
		batch := c.out
		c.out, c.flight = (*spare)[:0], len(batch)
		c.mu.Unlock()
		_ = c.socket.SetWriteDeadline(time.Now().Add(c.broker.config.Timeout)) // a socket that cannot says so when it is written
		if _, err := c.socket.Write(batch); err != nil {
			return n, err
		}
		n += len(batch)
		if *spare = batch; cap(batch) > 2*mostOut {
			*spare = nil
		}
		c.mu.Lock()
		close(c.wrote)
		c.wrote, c.flight = make(chan struct{}), 0
		c.mu.Unlock()
	}
}

// tick is how often the writer looks after the time.
func (c *Conn) tick() time.Duration {
	d := c.broker.config.Timeout
	if c.keepAlive > 0 {
		d = min(d, c.keepAlive)
	}
	return max(d/4, time.Millisecond)
}

func (c *Conn) lastHeard() time.Time { return c.began.Add(time.Duration(c.heard.Load())) }

// checkTime returns an error if the broker is silent, or does not acknowledge what it has.
func (c *Conn) checkTime(now time.Time) error {
	if silence := now.Sub(c.lastHeard()); c.keepAlive > 0 && !c.busy.Load() && silence >= c.keepAlive+c.keepAlive/2 {
		return fmt.Errorf("the broker was silent for %s", silence.Round(time.Millisecond))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open > 0 && now.Sub(c.progress) >= c.broker.config.Timeout {
		return fmt.Errorf("the broker acknowledged none of %d publications within %s", c.open, c.broker.config.Timeout)
	}
	return nil
}

// readAll is the reader.
func (c *Conn) readAll() error {
	var p mqtt.Packet
	for {
		if err := c.readPacket(&p); err != nil {
			return err
		}
		if err := c.handle(&p); err != nil {
			return err
		}
	}
}

// handle handles a packet that has come.
func (c *Conn) handle(p *mqtt.Packet) error {
	switch p.Type {
	case mqtt.Puback:
		return c.acknowledged(p)
	case mqtt.Publish:
		return c.published(p)
	case mqtt.Suback:
		return c.subscribed(p)
	case mqtt.Pingresp:
		return nil
	case mqtt.Disconnect:
		return &Refusal{p.Reason, string([]byte(p.Properties.ReasonString))}
	}
	return fmt.Errorf("the broker sent %s, which nobody waits for", p.Type)
}

// published hands a publication on.
func (c *Conn) published(p *mqtt.Packet) error {
	switch {
	case p.Topic == "": // an alias: CONNECT allowed none
		return mqtt.ErrTopicAlias
	case p.QoS > 1 || c.session.OnPublish == nil:
		return fmt.Errorf("the broker sent a publication of QoS %d that nobody has subscribed to", p.QoS)
	}
	c.handOver(func() { c.session.OnPublish(c, p) })
	return nil
}

// handOver calls what may wait, and meanwhile does not expect to hear of the broker.
func (c *Conn) handOver(call func()) {
	c.busy.Store(true)
	call()
	c.busy.Store(false)
	c.heard.Store(int64(time.Since(c.began)))
}

var errEarly = errors.New("the broker sent a publication before CONNACK")

// readPacket reads the next packet, which is valid until the next call. Publications that are too large are passed over.
func (c *Conn) readPacket(p *mqtt.Packet) error {
	c.buffer = c.buffer[c.read:]
	for {
		if c.skip > 0 {
			n := min(c.skip, len(c.buffer))
			c.buffer, c.skip = c.buffer[n:], c.skip-n
		}
		if c.skip == 0 {
			n, err := c.decoder.Decode(p, c.buffer)
			if n > 0 {
				c.read = n
				return nil
			}
			if errors.Is(err, mqtt.ErrTooLarge) {
				var over mqtt.Oversized
				var ok bool
				if over, ok, err = c.decoder.Oversize(c.buffer); ok && c.gone == nil {
					return errEarly
				}
				if ok {
					c.passOver(over)
					continue
				}
			}
			if err != nil {
				return err
			}
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// passOver skips a publication that is too large.
func (c *Conn) passOver(o mqtt.Oversized) {
	c.skip = o.Size
	if c.session.OnOversized != nil {
		c.handOver(func() { c.session.OnOversized(c, o) })
	}
}

// fill reads more behind what is in the buffer.
func (c *Conn) fill() error {
	c.read = 0
	if len(c.buffer) == cap(c.buffer) { // the beginning is free again, or a packet is larger
		size := max(firstBuffer, 2*len(c.buffer))
		if whole, err := c.decoder.Size(c.buffer); err == nil && whole > 0 {
			size = max(firstBuffer, whole)
		}
		c.buffer = append(make([]byte, 0, size), c.buffer...)
	}
	n, err := c.socket.Read(c.buffer[len(c.buffer):cap(c.buffer)])
	c.buffer = c.buffer[:len(c.buffer)+n]
	if n > 0 {
		c.heard.Store(int64(time.Since(c.began)))
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the broker closed the connection: %w", err)
	}
	return err
}

// Acknowledge sends PUBACK for publications, in this order.
func (c *Conn) Acknowledge(ids ...uint16) {
	c.mu.Lock()
	for _, id := range ids {
		c.out = append(c.out, byte(mqtt.Puback)<<4, 2, byte(id>>8), byte(id))
	}
	c.mu.Unlock()
	c.wake()
}

// Subscribe subscribes, and returns when the broker has granted all of it, within Config.Timeout.
func (c *Conn) Subscribe(ctx context.Context, subscriptions []mqtt.Subscription) error {
	ctx, cancel := context.WithTimeout(ctx, c.broker.config.Timeout)
	defer cancel()
	packet, err := mqtt.Append(nil, c.broker.version, &mqtt.Packet{Type: mqtt.Subscribe, ID: subscribeID, Subscriptions: subscriptions})
	if err != nil {
		return err
	}
	select {
	case c.subscribe <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.append(packet)
	select {
	case codes := <-c.codes:
		<-c.subscribe
		return granted(subscriptions, codes)
	case <-c.gone:
		return c.Err()
	case <-ctx.Done():
		return fmt.Errorf("the broker does not answer SUBSCRIBE: %w", ctx.Err())
	}
}

// subscribed hands the codes of a SUBACK to Subscribe.
func (c *Conn) subscribed(p *mqtt.Packet) error {
	if p.ID != subscribeID || len(c.subscribe) == 0 || len(c.codes) > 0 {
		return errors.New("the broker sent a SUBACK that nobody waits for")
	}
	c.codes <- append([]mqtt.Code(nil), p.Codes...)
	return nil
}

// granted returns which of the subscriptions the broker refuses.
func granted(subscriptions []mqtt.Subscription, codes []mqtt.Code) error {
	if len(codes) != len(subscriptions) {
		return errors.New("the broker answers another number of subscriptions than were asked for")
	}
	for i, code := range codes {
		switch {
		case code.Failed():
			return fmt.Errorf("subscription to %q: %w", subscriptions[i].Filter, &Rejected{Code: code})
		case int(code) < int(subscriptions[i].QoS):
			return fmt.Errorf("subscription to %q: %w", subscriptions[i].Filter, errNoQoS1)
		}
	}
	return nil
}
