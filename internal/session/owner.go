package session

import (
	"errors"
	"sync"
)

// One credential may be good for many devices, and who holds it could fill a node with their sessions, which
// outlive the connections, and their wills. So what one credential has let in is counted, and has bounds.

// ErrCredentialFull refuses a device whose credential has as many sessions, or bytes of wills, as it may have.
var ErrCredentialFull = errors.New("the devices of this credential have as many sessions, or bytes of wills, as one credential may have")

// owner is what a credential has let in.
type owner struct {
	credential uint64 // 0 is a free place
	sessions   int
	wills      int // bytes
}

// owners are those who have sessions. A session knows its owner by the place in the list. A nobody, of
// place 0, has no bounds.
type owners struct {
	// Guarded by mu, under which nothing else is locked.
	mu    sync.Mutex
	list  []owner
	free  []uint32
	place map[uint64]uint32
}

// find returns the place of a credential, made if there is none; 0 for no credential.
func (o *owners) find(credential uint64) uint32 {
	if credential == 0 {
		return 0
	}
	if at, ok := o.place[credential]; ok {
		return at
	}
	if o.place == nil {
		o.place, o.list = make(map[uint64]uint32), make([]owner, 1)
	}
	at := uint32(len(o.list))
	if n := len(o.free); n > 0 {
		at, o.free = o.free[n-1], o.free[:n-1]
	} else {
		o.list = append(o.list, owner{})
	}
	o.list[at] = owner{credential: credential}
	o.place[credential] = at
	return at
}

// admits reports whether a credential may have one session more, and bytes of wills more, as far as c goes.
func (o *owners) admits(c *Config, credential uint64, sessions, wills int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	at, ok := o.place[credential]
	if !ok {
		return true
	}
	has := &o.list[at]
	return has.sessions+sessions <= c.PerCredential && (wills == 0 || has.wills+wills <= c.WillsPerCredential)
}

// join counts a session that begins, or has another credential now; was is its place before.
func (o *owners) join(was uint32, credential uint64, wills int) (at uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if at = o.find(credential); at == was {
		return at
	}
	o.change(at, 1, wills)
	o.change(was, -1, -wills)
	return at
}

// count adds to what the owner of a place has.
func (o *owners) count(at uint32, sessions, wills int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.change(at, sessions, wills)
}

func (o *owners) change(at uint32, sessions, wills int) {
	if at == 0 {
		return
	}
	has := &o.list[at]
	has.sessions += sessions
	if has.wills += wills; has.sessions == 0 {
		delete(o.place, has.credential)
		*has = owner{}
		o.free = append(o.free, at)
	}
}
