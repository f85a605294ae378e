package ocpp

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"unicode/utf8"
)

// FuzzDecode: what is decoded can be encoded, and decoded to the same frame; what is not is refused by a frame that can be.
func FuzzDecode(f *testing.F) {
	for _, path := range []string{"testdata/frames.txt", "testdata/refused.txt"} {
		lines(f, path, func(v Version, message string) []string {
			f.Add(uint8(v), []byte(message))
			return nil
		})
	}
	f.Fuzz(func(t *testing.T, version uint8, message []byte) {
		v, before := Version(version%3), bytes.Clone(message)
		var frame, back Frame
		err := v.Decode(&frame, message)
		if !bytes.Equal(message, before) {
			t.Fatal("Decode changes the message")
		}
		if err == nil {
			encoded := frame.Append(nil)
			if err := v.Decode(&back, encoded); err != nil || !reflect.DeepEqual(frame, back) {
				t.Fatalf("%q: got %+v, want %+v (%v)", encoded, back, frame, err)
			}
			if !json.Valid(encoded) {
				t.Fatalf("%q is not JSON", encoded)
			}
			return
		}
		var refused *Error
		if !errors.As(err, &refused) || !utf8.ValidString(refused.Reason) {
			t.Fatalf("refused by %v", err)
		}
		if v.Answerable(&frame, refused) {
			answer := v.Refuse(&frame, refused.Code, refused.Reason)
			encoded := answer.Append(nil)
			if err := v.Decode(&back, encoded); err != nil || back.Code != answer.Code || len(back.Description) > MaxDescription {
				t.Fatalf("%q: %v", encoded, err)
			}
		}
	})
}
