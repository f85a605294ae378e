package disk

import (
	"fmt"
	"path/filepath"

	"github.com/longline/longline/internal/journal"
)

// Finding is what Check or Repair says of one part of a store.
type Finding struct {
	Part string // such as "journal/00000001.segment"
	Text string
	Bad  bool // something is lost or spoilt, or keeps a node from starting
}

// Check tells what is in a store's directory, which no process may use, and what is wrong with it. Nothing in the directory changes. The error is why it
// could not look.
func Check(path string, tell func(Finding)) error {
	lock, err := lockOnly(path)
	if err != nil {
		return err
	}
	o := &offline{path: path, lock: lock}
	defer func() { _ = o.close() }() // it was only read
	say := func(part string, bad bool, text string, args ...any) {
		tell(Finding{part, fmt.Sprintf(text, args...), bad})
	}
	if err := readVersion(path); err != nil {
		say(formatFile, true, "%v", err)
	}
	if o.second, err = lookForSecond(path); err != nil {
		say(secondFile, true, "%v", err)
	}
	o.checkJournal("journal", say)
	o.checkState(say)
	if o.journal != nil && o.state != nil {
		if err := fits(o.state.place, o.found); err != nil {
			say("state", true, "%v", err)
		}
	}
	for _, name := range o.streams() {
		o.checkJournal(name, say)
	}
	return nil
}

type sayer func(part string, bad bool, text string, args ...any)

// checkJournal looks at a journal. That of the store stays open.
func (o *offline) checkJournal(name string, say sayer) {
	j, found, err := o.view(name)
	if err != nil {
		say(name, true, "%v", err)
		return
	}
	if name == "journal" {
		o.journal, o.found = j, found
	} else {
		defer func() { _ = j.Close() }() // it was only read
	}
	var gaps []journal.Gap
	if err := eachRecord(j, j.First(), func(journal.Record) error { return nil }, func(g *journal.Gap) { gaps = append(gaps, *g) }); err != nil {
		say(name, true, "%v", err)
	}
	for _, f := range j.Files() {
		part := filepath.Join(name, f.Name)
		if f.Second {
			part = filepath.Join(o.second.Path, part)
		}
		good := true
		for _, g := range gaps {
			from, to := max(g.From, f.First), min(g.To, f.Next)
			if from >= to {
				continue
			}
			good = false
			say(part, true, "%s spoilt%s", spanIs(from, to), o.near(name, j, &g))
		}
		if good {
			say(part, false, "good: %s", span(f.First, f.Next))
		}
	}
	reportFound(name, found, say)
}

// near says what is beside lost operations; of a stream's entries nothing.
func (o *offline) near(name string, j *journal.Journal, g *journal.Gap) string {
	if name != "journal" {
		return ""
	}
	if text := neighbours(j, g); text != "" {
		return ": " + text
	}
	return ""
}

// reportFound says what a journal's recovery has found, besides what its readers find.
func reportFound(name string, found journal.Recovery, say sayer) {
	if found.Cut != nil {
		say(name, false, "%s: not whole when the process ended; nobody was told that they were safe", span(found.Cut.From, found.Cut.To))
	}
	for _, file := range found.SetAside {
		say(filepath.Join(name, file), true, "nothing in it can be read: it is set aside under this name at the next start")
	}
	for _, g := range found.Lost {
		if g.From >= found.End || len(found.SetAside) > 0 {
			say(name, true, "%s may be lost", span(g.From, g.To))
		}
	}
}

// spanIs is span with its verb.
func spanIs(from, to journal.Place) string {
	if to-from == 1 {
		return span(from, to) + " is"
	}
	return span(from, to) + " are"
}

func span(from, to journal.Place) string {
	switch to - from {
	case 0:
		return "no records"
	case 1:
		return fmt.Sprintf("record %d", from)
	}
	return fmt.Sprintf("records %d to %d", from, to-1)
}

// checkState reads the whole state.
func (o *offline) checkState(say sayer) {
	s, err := openReadOnly(filepath.Join(o.path, "state"))
	if err != nil {
		say("state", true, "it cannot be opened: %v", err)
		return
	}
	o.state = s
	if err := s.db.CheckLevels(nil); err != nil {
		say("state", true, "%v", err)
	}
	counts, good := make(map[string]int), true
	salvage(s.db, func(key, value []byte) {
		if err := checkValue(key, value); err != nil {
			good = false
			say("state", true, "the %s cannot be read: %v", about(key), err)
		}
		if len(key) > 2 {
			counts[string(key[:2])]++
		}
	}, func(from, to []byte, err error) {
		good = false
		say("state", true, "%s: %v", lostKeys(from, to), err)
	})
	if good {
		rest := ""
		if o.journal != nil && s.place < o.found.End {
			rest = fmt.Sprintf("; of the journal, %s not in it yet: a start applies them", spanIs(s.place, o.found.End))
		}
		say("state", false, "good: %d sessions, %d queued messages, %d retained messages, %d values%s",
			counts["r/"], counts["q/"], counts["t/"], counts["v/"], rest)
	}
}
