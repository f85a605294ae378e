package fleet

import (
	"slices"
	"time"
)

// publication is one QoS 1 message of a device until its answer arrives.
type publication struct {
	id      uint64        // 0 until it was sent for the first time
	since   time.Duration // its latency counts from here, on the fleet's clock; 0 means from when it is first sent
	payload []byte        // immutable
	refused bool          // refused on this connection; will be sent again
}

// outbox holds the publications of a device, in order. The first `sent` were written on the
// live connection. A client has an outbox only while there is something in it. Owned by the loop.
type outbox struct {
	line    []publication
	head    int // line[head:] are the publications
	sent    int
	refused int           // how many of those sent were refused
	pauses  int           // pauses since the last acknowledgement
	resume  time.Duration // when refused ones are sent again, on the fleet's clock; 0 means that there is no pause
}

func (o *outbox) left() []publication { return o.line[o.head:] }

func (o *outbox) push(p publication) {
	if o.head > len(o.line)/2 {
		o.line = slices.Delete(o.line, 0, o.head)
		o.head = 0
	}
	o.line = append(o.line, p)
}

// next returns the publication to send now, or nil if there is none, if the window is full, or if
// a refused one has to be sent first.
func (o *outbox) next(window int) *publication {
	left := o.left()
	if o.sent == len(left) || o.sent >= window || o.refused > 0 {
		return nil
	}
	o.sent++
	return &left[o.sent-1]
}

// find returns the index of a sent publication without an answer, or -1.
func (o *outbox) find(id uint64) int {
	return slices.IndexFunc(o.left()[:o.sent], func(p publication) bool { return p.id == id && !p.refused })
}

// remove removes the i-th publication. i is from find.
func (o *outbox) remove(i int) {
	o.sent--
	if i == 0 {
		o.line[o.head] = publication{}
		o.head++
		return
	}
	o.line = slices.Delete(o.line, o.head+i, o.head+i+1)
}

// refuse marks the i-th publication to be sent again. i is from find.
func (o *outbox) refuse(i int) {
	o.left()[i].refused = true
	o.refused++
}

// stuck reports whether every sent publication was refused, so that no answer is outstanding.
func (o *outbox) stuck() bool { return o.refused > 0 && o.refused == o.sent }

// rewind marks everything as unsent: for a new connection, or after the pause.
func (o *outbox) rewind() {
	for i := range o.left()[:o.sent] {
		o.left()[i].refused = false
	}
	o.sent, o.refused, o.resume = 0, 0, 0
}

// A device whose publication was refused for want of room waits this long, doubling with
// each refusal in a row.
const (
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

// pause sets the time at which refused publications are sent again.
func (o *outbox) pause(now time.Duration) {
	o.resume = now + min(minPause<<min(o.pauses, 10), maxPause)
	o.pauses++
}
