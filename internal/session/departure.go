package session

import (
	"errors"
	"runtime"

	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// departure is what is left to do for a device that has left: its messages that came by shares go to other members, as MQTT 5 §4.8.2
// lets a server do when the connection ends; all other messages that wait for room move into the queue, whose oldest messages are
// dropped for them. It is done in parts, because there may be many messages. One goroutine at a time does it.
type departure struct {
	*Session
	give  map[string]bool // shares that have other members on line
	reads bool            // messages of shares that are on the medium alone are read; otherwise they stay
}

// giveAtOnce is how many queued messages one part gives to other members.
const giveAtOnce = 128

// depart begins the departure. shares have other members on line. It does the first part itself and leaves the rest to a goroutine.
func (s *Session) depart(shares []string) {
	d := &departure{s, make(map[string]bool, len(shares)), true} // a session may have a thousand shares, and each message is looked up while locked
	for _, share := range shares {
		d.give[share] = true
	}
	switch more, unread := d.some(); {
	case unread != nil:
		d.read(unread)
	case more:
		s.manager.admitting.Go(d.rest)
	}
}

// rest does all that is left.
func (d *departure) rest() {
	for {
		switch more, unread := d.some(); {
		case unread != nil:
			d.read(unread)
			return
		case !more:
			return
		}
		runtime.Gosched()
	}
}

// read makes a worker read messages, and then do the rest.
func (d *departure) read(unread *store.Page) {
	d.manager.opener.read(unread, func(err error) {
		d.reads = err == nil
		if errors.Is(err, errManyRead) { // no worker: this may be a loop
			d.manager.admitting.Go(d.rest)
			return
		}
		d.mu.Lock()
		if d.reads && d.link == nil && !d.ended {
			d.load(unread)
			d.unloadLater()
		}
		d.mu.Unlock()
		d.rest()
	})
}

// some does one part. It reports whether more is left, and returns the messages that have to be read first. Nothing is left when the
// device has connected again: its loop goes on, and the messages that were not given yet are its own.
func (d *departure) some() (more bool, unread *store.Page) {
	var admitted []*router.Claim
	d.mu.Lock()
	if d.link == nil && !d.ended {
		if len(d.give) > 0 {
			more = d.giveQueued(giveAtOnce, d.Session, func(share string) bool { return d.give[share] }) == giveAtOnce
			if !more && d.reads {
				unread = d.sharedPage()
			}
		}
		if !more && unread == nil && d.waiting != nil {
			admitted, more = d.admitWaiting()
		}
	}
	d.mu.Unlock()
	d.manager.redeliveries.run()
	d.manager.tell(admitted)
	return more, unread
}

// admitWaiting gives waiting messages to other members or moves them into the queue, up to a bound, and reports whether more is left.
func (d *departure) admitWaiting() (admitted []*router.Claim, more bool) {
	before := d.waiting.Len()
	var given []redelivery
	admitted = d.admitBy(nil, func(x router.Held) error {
		if !d.give[router.ShareOf(x.Message)] {
			return d.admitOne(x)
		}
		given = append(given, redelivery{held: x, home: d.Session})
		return router.ErrGiven
	})
	d.redeliver(given)
	return admitted, d.waiting != nil && d.waiting.Len() < before
}
