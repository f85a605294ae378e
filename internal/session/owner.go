package session

import (
	"errors"
	"fmt"
	"sync"

	"github.com/longline/longline/internal/limit"
)

// One credential may be valid for many devices, and its holder could fill a node with their sessions, which outlive the
// connections, and with their wills. So the manager counts and bounds the sessions and wills per credential, and per prefix of
// device IDs where Config names one.

// ErrCredentialFull refuses a device because the devices of its credential have the most sessions, or bytes of wills,
// that Config allows.
var ErrCredentialFull = errors.New("the devices of this credential have as many sessions, or bytes of wills, as sessions.per_credential and sessions.wills_per_credential allow")

// PrefixSessionsFull and PrefixWillsFull refuse a device because of Config.PerPrefix and Config.WillsPerPrefix.
var (
	PrefixSessionsFull = &limit.Refusal{Label: "prefix_sessions", Reason: "the devices of this prefix have as many sessions as sessions.per_prefix allows"}
	PrefixWillsFull    = &limit.Refusal{Label: "prefix_wills", Reason: "the wills of the devices of this prefix are as large as sessions.wills_per_prefix allows"}
)

// owner counts what the devices of one credential have.
type owner struct {
	credential uint64 // 0 marks a free place
	sessions   int
	wills      int // bytes
}

// prefixes counts what the devices of each prefix have. The two lists may name different prefixes.
type prefixes struct {
	sessionLimits, willLimits limit.Prefixes // static
	sessions, wills           []int64        // guarded by owners.mu
}

func newPrefixes(c *Config) (p prefixes, err error) {
	if p.sessionLimits, err = limit.ParsePrefixes(c.PerPrefix); err != nil {
		return p, fmt.Errorf("per_prefix: %w", err)
	}
	if p.willLimits, err = limit.ParsePrefixes(c.WillsPerPrefix); err != nil {
		return p, fmt.Errorf("wills_per_prefix: %w", err)
	}
	p.sessions, p.wills = make([]int64, len(p.sessionLimits)), make([]int64, len(p.willLimits))
	return p, nil
}

// admits returns the limit that the device would pass with so many more sessions and bytes of wills, or nil.
func (p *prefixes) admits(device string, sessions, wills int) error {
	if at := p.sessionLimits.Find(device); at >= 0 && sessions > 0 && p.sessions[at] >= p.sessionLimits[at].Limit {
		return PrefixSessionsFull
	}
	if at := p.willLimits.Find(device); at >= 0 && wills > 0 && p.wills[at]+int64(wills) > p.willLimits[at].Limit {
		return PrefixWillsFull
	}
	return nil
}

func (p *prefixes) count(device string, sessions, wills int) {
	if at := p.sessionLimits.Find(device); at >= 0 {
		p.sessions[at] += int64(sessions)
	}
	if at := p.willLimits.Find(device); at >= 0 {
		p.wills[at] += int64(wills)
	}
}

// owners counts sessions and wills per credential. A session knows its owner by its index in list; index 0 has no
// bounds.
type owners struct {
	// Guarded by mu, under which nothing else is locked.
	mu    sync.Mutex
	list  []owner
	free  []uint32
	place map[uint64]uint32

	prefixes prefixes
}

// find returns the index of a credential, which it adds if necessary; 0 for no credential.
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

// demand is what a connection adds for its device.
type demand struct {
	device     string
	credential uint64
	sessions   int // 1 if the device has no session
	will       int // bytes

	// Of the existing session.
	owner uint32 // its index
	had   int    // bytes of the will that the new one replaces
}

// admits returns the bound of c that the demand would pass, or nil.
func (o *owners) admits(c *Config, d *demand) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d.credential != 0 {
		has, sessions, wills := owner{}, 1, d.will // what another credential let in is one session more for this one
		at := o.place[d.credential]
		if at != 0 {
			has = o.list[at]
		}
		if at != 0 && at == d.owner {
			sessions, wills = 0, d.will-d.had
		}
		if sessions > 0 && has.sessions+sessions > c.PerCredential || wills > 0 && has.wills+wills > c.WillsPerCredential {
			return ErrCredentialFull
		}
	}
	return o.prefixes.admits(d.device, d.sessions, d.will-d.had)
}

// join counts a session that begins, or whose credential changes; was is its index before. It returns its new index.
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

// count adds to the counts of a session's owner and of its prefix.
func (o *owners) count(s *Session, sessions, wills int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.change(s.owner, sessions, wills)
	o.prefixes.count(s.device, sessions, wills)
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
