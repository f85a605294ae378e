package wire

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/jsontext"
	"github.com/longline/longline/internal/message"
)

func TestFieldNames(t *testing.T) {
	for f := range numFields {
		if got, ok := fieldNamed([]byte(fields[f].name)); !ok || got != f {
			t.Errorf("fieldNamed(%q) = %d, %v, want %d", fields[f].name, got, ok, f)
		}
	}
	if _, ok := fieldNamed([]byte("Op")); ok {
		t.Error("names of fields are matched without case")
	}
}

// A packet must not contain anything of the one that was decoded before.
func TestDecodeForgets(t *testing.T) {
	for _, c := range []Codec{JSON, Protobuf} {
		var p, want Packet
		full := Packet{
			Op: Pub, ID: 1, Expiry: time.Second,
			Message: message.Message{
				Topic: "t", Payload: []byte("x"), ContentType: "a/b", QoS: 1, Retain: true,
				Properties: []message.Property{{Key: "k", Value: "v"}},
			},
		}
		decode(t, c, &p, encode(t, c, &full))
		decode(t, c, &p, encode(t, c, &Packet{Op: Sub, ID: 2, Filters: []string{"a", "b"}}))
		ack := encode(t, c, &Packet{Op: Ack, ID: 3})
		decode(t, c, &p, bytes.Clone(ack))
		decode(t, c, &want, ack)
		if len(p.Filters) != 0 || len(p.Message.Properties) != 0 {
			t.Errorf("%s: slices of the packet before: %v %v", c.Name(), p.Filters, p.Message.Properties)
		}
		p.Filters, p.Message.Properties = nil, nil
		if !reflect.DeepEqual(&p, &want) {
			t.Errorf("%s: got %+v, want %+v", c.Name(), &p, &want)
		}
	}
}

func TestPayloadKinds(t *testing.T) {
	tests := []struct{ contentType, payload, want string }{
		{message.JSON, ` {"a": 1}` + "\n", `,"payload":{"a": 1}`},
		{message.JSON, `{"a":1} x`, `,"data":"eyJhIjoxfSB4","type":"application/json"`},
		{message.JSON, ``, `,"data":"","type":"application/json"`},
		{message.JSON, "\"\xff\"", `,"data":"Iv8i","type":"application/json"`},
		{message.JSON, `"\ud800"`, `,"data":"Ilx1ZDgwMCI=","type":"application/json"`},
		{message.JSON, nested(jsontext.MaxDepth - 1), `,"payload":` + nested(jsontext.MaxDepth-1)},
		{"text/plain", `1`, `,"data":"MQ==","type":"text/plain"`},
		{"", ``, ``},
	}
	for _, tt := range tests {
		p := Packet{Op: Msg, Message: message.Message{
			Topic: "t", Payload: []byte(tt.payload), ContentType: tt.contentType,
		}}
		want := `{"op":"msg","topic":"t"` + tt.want + `}`
		got := encode(t, JSON, &p)
		if string(got) != want {
			t.Errorf("%q\n got %s\nwant %s", tt.payload, got, want)
		}
		var back Packet
		decode(t, JSON, &back, got)
		if back.Message.ContentType != tt.contentType {
			t.Errorf("%q comes back as %q", tt.payload, back.Message.ContentType)
		}
	}
	p := Packet{Op: Msg, Message: message.Message{
		Topic: "t", Payload: []byte(nested(jsontext.MaxDepth)), ContentType: message.JSON,
	}}
	if got := encode(t, JSON, &p); !bytes.Contains(got, []byte(`"data"`)) {
		t.Errorf("a payload that no decoder takes was written as it is: %s", got)
	}
}

func nested(levels int) string {
	return strings.Repeat("[", levels) + strings.Repeat("]", levels)
}

// Short durations must not become 0, which means none.
func TestDurationsRoundUp(t *testing.T) {
	p := Packet{Op: Pub, Expiry: time.Millisecond, Message: message.Message{Topic: "t"}}
	if got := string(encode(t, JSON, &p)); !strings.Contains(got, `"expiry":1`) {
		t.Error(got)
	}
	p = Packet{Op: Call, ID: 1, Method: "m", Timeout: time.Microsecond}
	if got := string(encode(t, JSON, &p)); !strings.Contains(got, `"timeout_ms":1`) {
		t.Error(got)
	}
}

func TestAppendRefuses(t *testing.T) {
	bad := map[string]*Packet{
		"no op":            {},
		"unknown op":       {Op: Reply + 1},
		"id too large":     {Op: Ack, ID: MaxID + 1},
		"qos 1 without id": {Op: Msg, Message: message.Message{Topic: "t", QoS: 1}},
		"qos 2":            {Op: Msg, ID: 1, Message: message.Message{Topic: "t", QoS: 2}},
		"negative timeout": {Op: Call, ID: 1, Method: "m", Timeout: -time.Second},
		"topic not UTF-8":  {Op: Msg, Message: message.Message{Topic: "\xff"}},
		"filter not UTF-8": {Op: Sub, ID: 1, Filters: []string{"\xff"}},
		"prop not UTF-8":   {Op: Pub, Message: message.Message{Topic: "t", Properties: []message.Property{{Value: "\xff"}}}},
		"error no code":    {Op: Ack, ID: 1, Err: Error{Reason: "why"}},
		"error no UTF-8":   {Op: Ack, ID: 1, Err: Error{Code: "c", Reason: "\xff"}},
		"error and answer": {Op: Reply, ID: 1, Payload: []byte("1"), Err: Error{Code: "c"}},
	}
	for name, p := range bad {
		for _, c := range []Codec{JSON, Protobuf} {
			dst, err := c.Append([]byte("before"), p)
			if !errors.Is(err, CloseContract) || string(dst) != "before" {
				t.Errorf("%s %s: %q, %v", c.Name(), name, dst, err)
			}
		}
	}
}

func TestRaw(t *testing.T) {
	ocpp := NewRaw("ocpp1.6")
	if ocpp.Name() != "ocpp1.6" || !ocpp.Text() || ocpp.Acks() {
		t.Errorf("got %+v", ocpp)
	}
	tests := []struct {
		frame string
		text  bool
		want  string
	}{
		{`[2,"19223201","Heartbeat",{}]`, true, message.JSON},
		{`[2,"19223201"`, true, "text/plain; charset=utf-8"},
		{``, true, "text/plain; charset=utf-8"},
		{`[1]`, false, ""},
		{"\xff", false, ""},
	}
	for _, tt := range tests {
		p := Packet{ID: 9}
		if err := ocpp.Decode(&p, []byte(tt.frame), tt.text); err != nil {
			t.Fatal(err)
		}
		m := &p.Message
		if p.Op != Pub || p.ID != 0 || m.Topic != "" || string(m.Payload) != tt.frame || m.ContentType != tt.want {
			t.Errorf("%q: got %+v", tt.frame, &p)
		}
	}
	if err := ocpp.Decode(new(Packet), []byte("a\xff"), true); !errors.Is(err, CloseInvalidUTF8) {
		t.Error(err)
	}

	down := Packet{Op: Msg, Message: message.Message{Topic: "device/a/down", Payload: []byte(`[3,"1",{}]`)}}
	if got := string(encode(t, ocpp, &down)); got != `[3,"1",{}]` {
		t.Error(got)
	}
	for _, p := range []*Packet{{Op: Hello}, {Op: Ack, ID: 1}, {Op: Msg, Message: message.Message{Payload: []byte{0xff}}}} {
		if _, err := ocpp.Append(nil, p); !errors.Is(err, CloseContract) {
			t.Errorf("%v: %v", p.Op, err)
		}
	}
}

func TestCloseRules(t *testing.T) {
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]bool{}
	for _, c := range Rules() {
		if labels[c.Label] || !regexp.MustCompile(`^[a-z0-9_]+$`).MatchString(c.Label) {
			t.Errorf("label %q", c.Label)
		}
		labels[c.Label] = true
		// RFC 6455 §7.4.1 reserves 1004 to 1006 and 1015.
		standard := c.Code >= 1000 && c.Code <= 1014 && (c.Code < 1004 || c.Code > 1006)
		if !standard && (c.Code < 4000 || c.Code > 4099) {
			t.Errorf("%s: code %d", c.Label, c.Code)
		}
		if len(c.Reason) == 0 || len(c.Reason) > maxReason {
			t.Errorf("%s: reason %q", c.Label, c.Reason)
		}
		if row := "| " + strconv.Itoa(int(c.Code)) + " | `" + c.Label + "` |"; !strings.Contains(string(doc), row) {
			t.Errorf("docs/protocol.md has no row %q", row)
		}
	}
	if len(labels) == 0 {
		t.Error("no rules")
	}
}

func TestBecause(t *testing.T) {
	c := CloseContract.Because("pub: " + strings.Repeat("ö", 100))
	if len(c.Reason) > maxReason || !strings.HasSuffix(c.Reason, "ö") || len(c.Reason) < maxReason-1 {
		t.Errorf("%d bytes: %q", len(c.Reason), c.Reason)
	}
	if !errors.Is(c, CloseContract) || errors.Is(c, CloseMalformed) {
		t.Error("it does not match its rule alone")
	}
	if got := CloseContract.Because("\xff").Reason; got != "\uFFFD" {
		t.Errorf("%q", got)
	}
}

// In the steady state nothing is allocated, whatever the packet.
func TestAllocations(t *testing.T) {
	m := message.Message{
		Topic: "meter/42/energy", Payload: []byte(`{"kwh":18.25}`), ContentType: message.JSON, QoS: 1,
		Properties: []message.Property{{Key: "k", Value: "v"}},
	}
	packets := []*Packet{
		{Op: Pub, ID: 1},
		{Op: Msg, ID: 1},
		{Op: Ack, ID: 1},
		{Op: Sub, ID: 1, Filters: []string{"a/#", "b/+"}},
		{Op: Call, ID: 1, Method: "reboot", Timeout: time.Second, Payload: []byte("1"), ContentType: message.JSON},
		{Op: Reply, ID: 1, Payload: []byte{0, 1, 2, 3}},
	}
	for _, p := range packets[:2] {
		p.Message.Topic, p.Message.Payload, p.Message.ContentType = m.Topic, m.Payload, m.ContentType
		p.Message.QoS, p.Message.Properties = m.QoS, m.Properties
	}
	for _, c := range []Codec{JSON, Protobuf} {
		for _, p := range packets {
			encoded := encode(t, c, p)
			buf, frame := make([]byte, 0, 2*len(encoded)), make([]byte, len(encoded))
			var back Packet
			n := testing.AllocsPerRun(100, func() {
				buf, _ = c.Append(buf[:0], p)
				copy(frame, buf)
				if err := c.Decode(&back, frame, c.Text()); err != nil {
					t.Fatal(err)
				}
			})
			if n != 0 {
				t.Errorf("%s %s: %v allocations", c.Name(), p.Op, n)
			}
		}
	}
}

// encoding/base64 does not promise that it can decode in place, so this test checks it.
func TestDataInPlace(t *testing.T) {
	data := make([]byte, 300)
	for i := range data {
		data[i] = byte(i * 37)
	}
	for n := range len(data) {
		p := Packet{Op: Reply, ID: 1, Payload: data[:n]}
		var back Packet
		decode(t, JSON, &back, encode(t, JSON, &p))
		if !bytes.Equal(back.Payload, data[:n]) {
			t.Fatalf("%d bytes: got %x", n, back.Payload)
		}
	}
}
