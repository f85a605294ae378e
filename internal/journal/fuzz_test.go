package journal_test

import (
	"testing"

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
