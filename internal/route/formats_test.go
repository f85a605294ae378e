package route

import (
	"testing"

	"github.com/longline/longline/internal/format"
)

func TestFormats(t *testing.T) {
	const json, xml, cbor = `{"a":1}`, `<message><a>1</a></message>`, "\xa1\x61a\x01"
	for _, c := range []struct {
		name                  string
		config                Config
		payload, contentType  string
		wantPayload, wantType string
	}{
		{"nothing", Config{}, "x", "text/plain", "x", "text/plain"},
		{"none", Config{Drop: []string{"b"}}, json, "", json, "application/json"},
		{"of the content type, set", Config{Set: map[string]string{"b": "2"}}, json, "application/vnd.x+json; v=1", `{"a":1,"b":2}`, "application/vnd.x+json; v=1"},
		{"cbor", Config{Drop: []string{"b"}}, cbor, "application/cbor", cbor, "application/cbor"},
		{"cbor to json", Config{Format: format.Config{Name: "json"}}, cbor, "application/cbor", json, "application/json"},
		{"json to cbor", Config{Format: format.Config{Name: "cbor"}}, json, "", cbor, "application/cbor"},
		{"xml to json", Config{Format: format.Config{Name: "json"}, Payload: format.Config{XML: format.XML{Numbers: true}}}, xml, "text/plain", json, "application/json"},
		{"xml by its type", Config{Format: format.Config{Name: "json"}}, xml, "text/xml", `{"a":"1"}`, "application/json"},
	} {
		m := telemetry()
		m.Payload, m.ContentType = []byte(c.payload), c.contentType
		v := view(m)
		if _, err := open(t, c.config).Apply(v); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		payload, contentType, err := v.Encoded()
		if err != nil || string(payload) != c.wantPayload || contentType != c.wantType {
			t.Errorf("%s: %q, %s, %v, want %q, %s", c.name, payload, contentType, err, c.wantPayload, c.wantType)
		}
	}
}
