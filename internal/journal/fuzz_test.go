package journal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/journal/journaltest"
)

// FuzzOpen changes bytes of a journal's files, and adds a file with any content: every record that is read afterwards is
// one that was written, at its place.
func FuzzOpen(f *testing.F) {
	d := journaltest.New()
	j, _, err := journal.Open(small(d))
	if err != nil {
		f.Fatal(err)
	}
	written := make(map[string]bool)
	for n := range 20 {
		text := string(rune('a'+n)) + string(make([]byte, n*40))
		written[text] = true
		if _, err := j.Append([]byte(text), nil); err != nil {
			f.Fatal(err)
		}
		wait(f, j)
	}
	j.Close()
	f.Add([]byte{0, 40, 1, 2, 0, 255}, []byte("LLJOURNL"))
	f.Add([]byte{1, 0, 255}, d.Content("00000001.segment"))
	f.Fuzz(func(t *testing.T, changes, file []byte) {
		c := d.Copy()
		c.Put("00000099.segment", file)
		for ; len(changes) >= 3; changes = changes[3:] {
			at := int(changes[0])<<8 | int(changes[1])
			name := "0000000" + string(rune('1'+at%3)) + ".segment"
			c.Spoil(name, at*4%4096, 1+int(changes[2])%16, changes[2])
		}
		j, _, err := journal.Open(small(c))
		if err != nil {
			return // of a newer format
		}
		defer j.Close()
		found, _ := read(t, j, 0)
		for place, text := range found {
			if !written[text] {
				t.Errorf("place %d has %q", place, text)
			}
		}
		if _, err := j.Append([]byte("more"), nil); err != nil {
			t.Fatal(err)
		}
		wait(t, j)
	})
}

// FuzzOpenPair changes bytes of a journal's files in two directories: a View changes nothing, and every record that is read
// afterwards is one that was written, at its place.
func FuzzOpenPair(f *testing.F) {
	p := newPair()
	o := p.options()
	j, _, err := journal.Open(o)
	if err != nil {
		f.Fatal(err)
	}
	written := make(map[journal.Place]string)
	for n := range 24 {
		p.set(func() {
			p.takes = func(_, disk int) time.Duration {
				if disk == 0 && n%8 == 5 {
					return stall + 5*time.Millisecond
				}
				return 0
			}
		})
		text := string(rune('a'+n)) + string(make([]byte, n*20))
		place, err := j.Append([]byte(text), nil)
		if err != nil {
			f.Fatal(err)
		}
		wait(f, j)
		written[place] = text
	}
	p.set(func() { p.takes = nil })
	j.Close()
	p = p.copy()
	f.Add([]byte{0, 40, 1, 2, 0, 255})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, changes []byte) {
		c := p.copy()
		for ; len(changes) >= 4; changes = changes[4:] {
			d := []*journaltest.Disk{c.first, c.second}[changes[0]%2]
			names, _ := d.List()
			d.Spoil(names[int(changes[1])%len(names)], int(changes[2])*16, 1+int(changes[3])%40, changes[3])
		}
		before := [2]map[string]int{c.first.Sizes(), c.second.Sizes()}
		viewed := map[journal.Place]string{}
		if v, _, err := journal.View(c.options()); err == nil {
			viewed, _ = read(t, v, 0)
			_ = v.Close()
		}
		if after := [2]map[string]int{c.first.Sizes(), c.second.Sizes()}; fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("a view has changed %v to %v", before, after)
		}
		j, _, err := journal.Open(c.options())
		if err != nil {
			return // of another format
		}
		defer j.Close()
		found, _ := read(t, j, 0)
		for place, text := range found {
			if written[place] != text {
				t.Errorf("place %d has %q", place, text)
			}
			if viewed[place] != text {
				t.Errorf("place %d is not in the view", place)
			}
		}
	})
}
