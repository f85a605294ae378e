package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Earlier is what is known of the lives of the node before this one, as far as they could save it.
//
// What receivers took in these lives is the sum of their fates, of Unknown, and of Carried.
type Earlier struct {
	Since      time.Time `json:"since"` // when the first of them began
	Lives      uint64    `json:"lives"`
	Killed     uint64    `json:"killed"`     // how many of them did not end in order
	Receivers  Receiver  `json:"receivers"`  // without what was found, or waited, at the turn from one life to the next
	Publishers Publisher `json:"publishers"` // Waiting are those that had no answer when a life ended

	// Unknown is how many messages more waited when killed lives saved their ledgers last than were found by the lives
	// that followed: those that got a fate in between, less those that were taken in between and are not gone. Neither
	// of the two is known.
	Unknown int64 `json:"unknown"`
	Gaps    []Gap `json:"gaps,omitempty"` // the last few, oldest first

	Carried uint64 `json:"carried"` // found by the life that followed
}

// Gap is a time of which nothing is known: a killed life saved its ledger at From, and the next life began at To.
type Gap struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Unknown int64     `json:"unknown"` // its part of Earlier.Unknown
}

// mostGaps is how many gaps are kept.
const mostGaps = 16

// Difference returns how many messages were taken that are not explained: 0 if e balances.
func (e *Earlier) Difference() int64 {
	return e.Receivers.Difference() - e.Unknown - int64(e.Carried)
}

// life is the ledger of one life as it is saved, with those of the lives before it.
type life struct {
	Version    int       `json:"version"`
	Earlier    *Earlier  `json:"earlier,omitempty"`
	Since      time.Time `json:"since"`
	Saved      time.Time `json:"saved"`
	Ended      bool      `json:"ended"` // nothing changed after it was saved
	Receivers  Receiver  `json:"receivers"`
	Publishers Publisher `json:"publishers"`
}

const version = 1

// errNewer says that a newer Longline has saved the ledger.
var errNewer = errors.New("a newer Longline has saved it")

// parse decodes what a life has saved; nil if there is none.
func parse(value []byte) (*life, error) {
	if len(value) == 0 {
		return nil, nil
	}
	l := new(life)
	if err := json.Unmarshal(value, l); err != nil {
		return nil, err
	}
	if l.Version != version {
		return nil, fmt.Errorf("%w: it has version %d, this program knows version %d", errNewer, l.Version, version)
	}
	return l, nil
}

// over returns the ledger of the lives up to l, which is over. The life that begins now has found so many messages.
func (l *life) over(found uint64, now time.Time) *Earlier {
	e := &Earlier{Since: l.Since}
	if l.Earlier != nil {
		*e = *l.Earlier
	}
	missing := int64(l.Receivers.Waiting) - int64(found)
	l.Receivers.Waiting, l.Receivers.Found = 0, 0 // from one life to the next they are the same messages
	e.Receivers.Add(&l.Receivers)
	e.Publishers.Add(&l.Publishers)
	e.Lives++
	e.Carried = found
	switch {
	case l.Ended && missing >= 0:
		e.Receivers.Lost.Add("restart", int(missing))
		return e
	case !l.Ended:
		e.Killed++
	}
	e.Unknown += missing
	e.Gaps = append(e.Gaps, Gap{l.Saved, now, missing})
	e.Gaps = e.Gaps[max(0, len(e.Gaps)-mostGaps):]
	return e
}
