package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T, o store.Options) storetest.Whole { return store.NewMemory(o) })
}

func TestJournaled(t *testing.T) {
	storetest.Run(t, func(t *testing.T, o store.Options) storetest.Whole { return storetest.NewOnJournal(o) })
	storetest.RunDurable(t, func(t *testing.T, o store.Options) storetest.Killable { return storetest.NewOnJournal(o) })
}

func FuzzQueue(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x02\x04\x00\x04\x00\x07\x00\x0b\x01\x04\x00"))
	f.Add([]byte(strings.Repeat("\x01\x05\x04\x00", 8) + strings.Repeat("\x07\x03\x00\x41\x04\x00", 20)))
	f.Add([]byte(strings.Repeat("\x01\x42", 30) + "\x09\xff\x01\x01\x0b\x00\x0a\x00\x0b\x01\x04\x00"))
	f.Add([]byte("\x0b\x05\x02\x01\x01\x01\x04\x00\x04\x00\x11\x01\x13\x00\x10\x00\x0b\x05\x13\x00\x12\x01\x04\x00"))
	f.Add([]byte(strings.Repeat("\x01\x05", 12) + "\x04\x00\x04\x00\x14\x00\x0b\x05" + strings.Repeat("\x14\x00\x01\x07\x04\x00\x07\x05", 20)))
	limits := store.Limits{Count: 24, Bytes: 600, Age: 8 * time.Second}
	f.Fuzz(func(t *testing.T, script []byte) {
		storetest.Script(t, storetest.NewOnJournal(store.Options{Queue: limits}), limits, script)
	})
}
