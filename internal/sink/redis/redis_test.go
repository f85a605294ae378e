package redis

import (
	"fmt"
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/redisconn"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
)

func TestConfig(t *testing.T) {
	at := redisconn.Config{Addresses: []string{"h:6379"}}
	for want, c := range map[string]Config{
		"":                {Config: at, Key: "k"},
		"addresses: want": {Key: "k"},
		"key: want":       {Config: at},
		"key: ":           {Config: at, Key: "{nothing}"},
		"max_len: want":   {Config: at, Key: "k", MaxLen: -1},
		"replicas: want":  {Config: at, Key: "k", Replicas: -1},
		"fields.a: ":      {Config: at, Key: "k", Fields: map[string]string{"a": "{nothing}"}},
	} {
		err := c.WithDefaults().Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
}

func TestPrepare(t *testing.T) {
	var v route.View
	v.Node, v.Stream = 3, "s"
	record := func(c Config, m *message.Message) (*pump.Record, error) {
		t.Helper()
		to, err := Open(c.WithDefaults(), pump.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		v.Reset(m)
		v.Place = 17
		v.AddProperty("more", "y")
		r := new(pump.Record)
		return r, to.Prepare(&v, r)
	}
	m := &message.Message{Topic: "a/b", Source: "d", Payload: []byte("x"), ContentType: "text/plain", Time: 1}
	r, err := record(Config{Key: "k:{topic[1]}"}, m)
	if got := fmt.Sprintf("%s %v %s", r.To, r.Headers, r.Value); err != nil || got != "k:b [{place 3/s/17} {topic a/b} {time 1} {source d} {content_type text/plain} {more y}] x" {
		t.Error(got, err)
	}
	r, err = record(Config{Key: "k", Fields: map[string]string{"z": "{source}", "a": "{topic[0]}"}}, m)
	if got := fmt.Sprintf("%s %v %s", r.To, r.Headers, r.Value); err != nil || got != "k [{a a} {z d}] " {
		t.Error(got, err)
	}
	if _, err = record(Config{Key: "{property.none?}"}, m); err == nil {
		t.Error("an empty key is taken")
	}
	if _, err = record(Config{Key: "{topic}"}, &message.Message{Topic: strings.Repeat("x", maxKey+1)}); err == nil {
		t.Error("a long key is taken")
	}
}

// A set of keys is bounded.
func TestKeys(t *testing.T) {
	var k keys
	for i := range 3 * maxKeys {
		key := fmt.Sprint(i)
		if k.note(key, true); !k.has(key) || len(k.set) > maxKeys {
			t.Fatalf("%d keys, and %s is there: %t", len(k.set), key, k.has(key))
		}
	}
	k.note("a", true)
	if k.note("a", false); k.has("a") {
		t.Error("it is still there")
	}
}
