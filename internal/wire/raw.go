package wire

import (
	"fmt"
	"unicode/utf8"

	"github.com/longline/longline/internal/jsontext"
	"github.com/longline/longline/internal/message"
)

// Raw is a subprotocol whose frames the gateway does not parse, such as ocpp1.6: each frame is
// the payload of one message.
type Raw struct{ name string }

// NewRaw returns the codec of the subprotocol name. Append makes text frames.
func NewRaw(name string) Raw { return Raw{name} }

func (r Raw) Name() string { return r.name }
func (Raw) Text() bool     { return true }
func (Raw) Acks() bool     { return false }

// Decode fills p with a Pub of QoS 0 without a topic, which the session knows.
func (Raw) Decode(p *Packet, frame []byte, text bool) error {
	p.Reset()
	p.Op = Pub
	p.Message.Payload = frame
	if !text {
		return nil
	}
	if !utf8.Valid(frame) {
		return CloseInvalidUTF8.Because(fmt.Sprintf("not UTF-8 at byte %d", jsontext.InvalidAt(frame)))
	}
	p.Message.ContentType = "text/plain; charset=utf-8"
	if _, ok := jsonValue(frame, 0); ok {
		p.Message.ContentType = message.JSON
	}
	return nil
}

// Append appends the payload of a Msg, which must be UTF-8. It refuses other packets.
func (Raw) Append(dst []byte, p *Packet) ([]byte, error) {
	if p.Op != Msg {
		return dst, p.breaks("a raw subprotocol has no packet of this kind")
	}
	if !utf8.Valid(p.Message.Payload) {
		return dst, p.breaks("the payload is not UTF-8, so a text frame cannot hold it")
	}
	return append(dst, p.Message.Payload...), nil
}
