package stream

import (
	"errors"
	"testing"

	"github.com/longline/longline/internal/message"
)

// FuzzParseEntry checks that what can be read is written the same, and that nothing else is more than an error.
func FuzzParseEntry(f *testing.F) {
	f.Add(appendEntry(nil, 1_700_000_000_000, &message.Message{ID: 7, Topic: "a/b", Payload: []byte("p"), Source: "d", QoS: 1}))
	f.Add([]byte{entryVersion})
	f.Add([]byte{entryVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02})
	f.Fuzz(func(t *testing.T, p []byte) {
		e, err := parseEntry(3, p)
		if err != nil {
			if !errors.Is(err, errEntry) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := parseEntry(3, appendEntry(nil, e.Time.UnixMilli(), e.Message))
		if err != nil || !again.Time.Equal(e.Time) || again.Place != 3 || again.Message.ID != e.Message.ID || !again.Message.Equal(e.Message) {
			t.Errorf("%+v became %+v, %v", e, again, err)
		}
	})
}

func FuzzParsePlace(f *testing.F) {
	f.Add(appendPlace(nil, 17, 3))
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, p []byte) {
		place, missed, err := parsePlace(p)
		if err != nil {
			return
		}
		if again, m, err := parsePlace(appendPlace(nil, place, missed)); err != nil || again != place || m != missed {
			t.Errorf("%d, %d became %d, %d, %v", place, missed, again, m, err)
		}
	})
}
