package gateway

import (
	"testing"
	"unsafe"

	"github.com/longline/longline/internal/message"
)

// A connection lives for months, and so does what its aliases stand for.
func TestAliasKeepsNoPayload(t *testing.T) {
	m := (&message.Message{Topic: "t/1", Payload: make([]byte, 200_000)}).Clone()
	var r mqttRare
	r.tell(m.Topic)
	if got := r.outbound[0]; got != "t/1" || unsafe.StringData(got) == unsafe.StringData(m.Topic) {
		t.Errorf("alias 1 is %q, in the memory of the message", got)
	}
}
