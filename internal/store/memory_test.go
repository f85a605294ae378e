package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T, o store.Options) store.Store { return store.NewMemory(o) })
}

func FuzzQueue(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x02\x04\x00\x04\x00\x07\x00\x0b\x01\x04\x00"))
	f.Add([]byte(strings.Repeat("\x01\x05\x04\x00", 8) + strings.Repeat("\x07\x03\x00\x41\x04\x00", 20)))
	f.Add([]byte(strings.Repeat("\x01\x42", 30) + "\x09\xff\x01\x01\x0b\x00\x0a\x00\x0b\x01\x04\x00"))
	limits := store.Limits{Count: 24, Bytes: 600, Age: 8 * time.Second}
	f.Fuzz(func(t *testing.T, script []byte) {
		q, err := store.NewMemory(store.Options{Queue: limits}).Queue("d")
		if err != nil {
			t.Fatal(err)
		}
		storetest.Script(t, q, limits, script)
	})
}
