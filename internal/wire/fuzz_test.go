package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/longline/longline/internal/jsontext"
	"github.com/longline/longline/internal/message"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// seeds are the frames in the lines of the golden scenarios with one of these keys.
func seeds(f *testing.F, keys ...string) (frames []string) {
	for _, path := range []string{"testdata/packets.txt", "testdata/refused.txt"} {
		for _, s := range readScenarios(f, path) {
			for _, key := range keys {
				if v, ok := s.values[key]; ok {
					frames = append(frames, v)
				}
			}
		}
	}
	return frames
}

func FuzzJSONDecode(f *testing.F) {
	for _, s := range seeds(f, "in", "json") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) { checkRoundTrip(t, JSON, frame) })
}

func FuzzProtobufDecode(f *testing.F) {
	for _, s := range seeds(f, "protobuf") {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) { checkRoundTrip(t, Protobuf, frame) })
}

// checkRoundTrip checks that a decoded packet can be encoded, in both protocols, and decoded to the same packet.
// If decoding fails, the error is a rule.
func checkRoundTrip(t *testing.T, c Codec, frame []byte) {
	var p Packet
	if err := c.Decode(&p, bytes.Clone(frame), c.Text()); err != nil {
		var refused *Close
		if !errors.As(err, &refused) || !utf8.ValidString(refused.Reason) || len(refused.Reason) > maxReason {
			t.Fatalf("refused with %v", err)
		}
		return
	}
	for _, via := range []Codec{JSON, Protobuf} {
		var back Packet
		decode(t, via, &back, encode(t, via, &p))
		if want := normal(&p, via); !reflect.DeepEqual(normal(&back, via), want) {
			t.Fatalf("%s: got %+v, want %+v", via.Name(), &back, &p)
		}
	}
}

// normal returns p without what a round trip through c may change: empty slices become nil, and the
// white space around JSON, which protobuf may carry, is removed.
func normal(p *Packet, c Codec) *Packet {
	n := Packet{Op: p.Op, ID: p.ID, Expiry: p.Expiry, QoS: p.QoS, Service: p.Service, Method: p.Method, Timeout: p.Timeout, Again: p.Again,
		ContentType: p.ContentType, Err: p.Err, Token: p.Token, Lifetime: p.Lifetime, Hello: p.Hello}
	n.Filters = append(n.Filters, p.Filters...)
	n.Payload = append(n.Payload, p.Payload...)
	m := &p.Message
	n.Message.Topic, n.Message.ContentType, n.Message.QoS = m.Topic, m.ContentType, m.QoS
	n.Message.Retain, n.Message.Time = m.Retain, m.Time
	n.Message.Payload = append(n.Message.Payload, m.Payload...)
	n.Message.Properties = append(n.Message.Properties, m.Properties...)
	if value, ok := jsonValue(*n.payload(), 1); ok && c == JSON && *n.text(fieldType) == message.JSON {
		*n.payload() = value
	}
	return &n
}

// FuzzJSONGrammar compares the scanner with encoding/json, which accepts three things more:
// text that is not UTF-8, lone surrogates, and nesting below jsontext.MaxDepth.
func FuzzJSONGrammar(f *testing.F) {
	for _, s := range seeds(f, "in", "json") {
		f.Add([]byte(s))
	}
	f.Add([]byte(`[-0.5e+10,1E2,"\u0041\/\b\f\n\r\t\\\"",{"":[]},true,false,null]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		_, got := jsonValue(b, 0)
		want := json.Valid(b) && utf8.Valid(b)
		excused := depth(b) > jsontext.MaxDepth || bytes.Contains(bytes.ToLower(b), []byte(`\ud`))
		if got != want && (got || !excused) {
			t.Fatalf("%q: valid %v, encoding/json says %v", b, got, want)
		}
		if !bytes.Equal(b, before) {
			t.Fatal("the scanner wrote")
		}
	})
}

// depth returns an upper bound of the nesting of b.
func depth(b []byte) int { return bytes.Count(b, []byte("[")) + bytes.Count(b, []byte("{")) }

// FuzzJSONStrings compares the decoding and encoding of strings with encoding/json.
func FuzzJSONStrings(f *testing.F) {
	for _, s := range []string{"", "meter/42", `"\/`, "\x00\x1f\x7f", "Zoë 😀 12345678", "\u2028"} {
		f.Add(s, `"\u00e9\ud83d\ude00\n\/"`)
	}
	f.Fuzz(func(t *testing.T, s, quoted string) {
		if utf8.ValidString(s) {
			var got string
			if err := json.Unmarshal(jsontext.AppendString(nil, s), &got); err != nil || got != s {
				t.Fatalf("%q is written %s: %v", s, jsontext.AppendString(nil, s), err)
			}
		}
		var want string
		if _, ok := jsonValue([]byte(quoted), 0); !ok || json.Unmarshal([]byte(quoted), &want) != nil {
			return
		}
		if got, _ := unquote([]byte(strings.TrimSpace(quoted))); got != want {
			t.Fatalf("%s is read %q, want %q", quoted, got, want)
		}
	})
}

// jsonPacket is a pub as encoding/json reads it.
type jsonPacket struct {
	Op      string            `json:"op"`
	ID      uint64            `json:"id"`
	Topic   string            `json:"topic"`
	Payload json.RawMessage   `json:"payload"`
	Data    []byte            `json:"data"`
	Type    string            `json:"type"`
	QoS     uint8             `json:"qos"`
	Retain  bool              `json:"retain"`
	Expiry  uint32            `json:"expiry"`
	Props   map[string]string `json:"props"`
}

// FuzzJSONValues compares a decoded pub with encoding/json.
func FuzzJSONValues(f *testing.F) {
	for _, s := range seeds(f, "in", "json") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var p Packet
		if JSON.Decode(&p, bytes.Clone(frame), true) != nil || p.Op != Pub || foldedNames(frame) {
			return
		}
		var want jsonPacket
		if err := json.Unmarshal(frame, &want); err != nil {
			t.Fatalf("%q: %v", frame, err)
		}
		m := &p.Message
		payload, contentType := want.Data, want.Type
		if want.Payload != nil {
			payload, contentType = want.Payload, message.JSON
		}
		props := map[string]string{}
		for _, prop := range m.Properties {
			props[prop.Key] = prop.Value
		}
		if p.ID != want.ID || m.Topic != want.Topic || !bytes.Equal(m.Payload, payload) || m.ContentType != contentType ||
			uint8(m.QoS) != want.QoS || m.Retain != want.Retain || uint32(p.Expiry.Seconds()) != want.Expiry ||
			len(props) != len(want.Props) {
			t.Fatalf("got %+v, want %+v", &p, want)
		}
		for k, v := range want.Props {
			if props[k] != v {
				t.Fatalf("prop %q: got %q, want %q", k, props[k], v)
			}
		}
	})
}

// foldedNames reports whether frame has a member that encoding/json takes for another,
// because it ignores case.
func foldedNames(frame []byte) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(frame, &members) != nil {
		return true
	}
	for name := range members {
		for f := range numFields {
			if strings.EqualFold(name, fields[f].name) && name != fields[f].name {
				return true
			}
		}
	}
	return false
}

// FuzzProtobufGenerated compares the codec with the generated code: each reads what the other
// wrote as the same packet, unless that breaks a rule of ours.
func FuzzProtobufGenerated(f *testing.F) {
	for _, s := range seeds(f, "protobuf") {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var generated, again longlinev1.Packet
		var p, back Packet
		err := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(frame, &generated)
		if Protobuf.Decode(&p, frame, false) != nil {
			return
		}
		if err != nil {
			t.Fatalf("%x decodes to %+v, but: %v", frame, &p, err)
		}
		if err := proto.Unmarshal(encode(t, Protobuf, &p), &again); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&generated, &again) {
			t.Fatalf("got %v, want %v", &again, &generated)
		}
		theirs, err := proto.MarshalOptions{Deterministic: true}.Marshal(&generated)
		if err != nil {
			t.Fatal(err)
		}
		decode(t, Protobuf, &back, theirs)
		if ours := encode(t, Protobuf, &back); !bytes.Equal(ours, theirs) {
			t.Fatalf("ours %x\ntheirs %x", ours, theirs)
		}
	})
}
