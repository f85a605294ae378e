package mqtt

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/bridge/bridgetest"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
	wire "github.com/longline/longline/internal/wire/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noLog = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t *testing.T, c Config) *target {
	t.Helper()
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	opened, err := Open(c, pump.Options{Name: "up", Node: 1, Watcher: new(reload.Watcher), Loops: bridge.NewLoops("here"), Log: noLog})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Close)
	return opened.(*target)
}

func prepare(t *target, m *message.Message) (*pump.Record, error) {
	v := route.View{Node: 1, Stream: "all"}
	v.Reset(m)
	v.Place = 7
	r := &pump.Record{Place: 7, Message: m, Key: m.Source}
	return r, t.Prepare(&v, r)
}

func user(pairs ...string) (list []message.Property) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, message.Property{Key: pairs[i], Value: pairs[i+1]})
	}
	return list
}

func TestPrepare(t *testing.T) {
	five := Config{Config: bridge.Config{URL: "mqtt://broker.example.com", Broker: "there"}, Topics: []string{"a/+ -> b/{topic[1]}", "c/# -> {payload.x}"}}
	three := five
	three.Version, three.Retain = "3.1.1", "false"
	bySource := message.Origin{Via: message.ViaSource}
	const standard = " longline-place=1/all/7 longline-topic=a/1 longline-time=5 longline-source=d"
	for _, test := range []struct {
		config Config
		m      *message.Message
		want   string
	}{
		{five, &message.Message{Topic: "a/1"}, "b/1 retain=false p=q" + standard + " longline-hops=here"},
		{five, &message.Message{Topic: "a/1", Kept: true}, "b/1 retain=true p=q" + standard + " longline-hops=here"},
		{five, &message.Message{Topic: "a/1", Properties: user(bridge.HopsProperty, "else")}, "b/1 retain=false p=q" + standard + " longline-hops=else,here"},
		{five, &message.Message{Topic: "a/1", Properties: user("longline-place", "2/x/9"), Origin: bySource}, "b/1 retain=false longline-place=2/x/9 p=q longline-hops=here"},
		{five, &message.Message{Topic: "a/1", Properties: user("longline-source", "another", "Longline-Place", "x")}, "b/1 retain=false p=q" + standard + " longline-hops=here"},
		{five, &message.Message{Topic: "a/1", Properties: user(bridge.HopsProperty, "there")}, pump.ErrLeftOut.Error()},
		{five, &message.Message{Topic: "a/1", Properties: user(bridge.HopsProperty, "here,else")}, pump.ErrLeftOut.Error()},
		{five, &message.Message{Topic: "a/1/2"}, pump.ErrLeftOut.Error()},
		{five, &message.Message{Topic: "c/1"}, `[begins with $]`},
		{five, &message.Message{Topic: "a/\x01"}, "[control character]"},
		{five, &message.Message{Topic: "a/1", Properties: user("x", "\n")}, "[control character]"},
		{five, &message.Message{Topic: "a/1", ContentType: "\uFFFE"}, "[control character]"},
		{three, &message.Message{Topic: "a/\x01"}, "[control character]"},
		{three, &message.Message{Topic: "a/1", Properties: user("x", "\n")}, "b/1 retain=false"},
		{three, &message.Message{Topic: "a/1", Kept: true}, "b/1 retain=false"},
		{three, &message.Message{Topic: "a/1", Properties: user(bridge.HopsProperty, "there")}, pump.ErrLeftOut.Error()},
	} {
		test.m.Payload, test.m.Time = []byte(`{"x":"$SYS"}`), 5
		if test.m.Origin != bySource {
			test.m.Source = "d"
		}
		test.m.Properties = append(test.m.Properties, user("p", "q")...)
		r, err := prepare(open(t, test.config), test.m)
		got := fmt.Sprintf("%s retain=%t", r.To, r.Retain)
		for _, h := range r.Headers {
			got += fmt.Sprintf(" %s=%s", h.Name, h.Value)
		}
		if err != nil {
			got = err.Error()
		}
		if wrong, isPart := strings.CutPrefix(test.want, "["); got != test.want && !(isPart && strings.Contains(got, strings.TrimSuffix(wrong, "]"))) {
			t.Errorf("%s %v:\n%s, want\n%s", test.m.Topic, test.m.Properties, got, test.want)
		}
	}
}

// sent is what Send returned.
type sent struct {
	done int
	err  error
}

func send(t *testing.T, target *target, records ...*pump.Record) <-chan sent {
	t.Helper()
	answer := make(chan sent, 1)
	go func() {
		done, err := target.Send(t.Context(), records)
		answer <- sent{done, err}
	}()
	return answer
}

func soon(t *testing.T, c <-chan sent) sent {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("Send does not return")
		panic("unreachable")
	}
}

// records returns prepared records with these payloads.
func records(t *testing.T, target *target, payloads ...string) (list []*pump.Record) {
	t.Helper()
	for _, p := range payloads {
		r, err := prepare(target, &message.Message{Topic: "a/1", Payload: []byte(p), QoS: 1})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// What the broker rejects is returned one by one, and what it has confirmed is not sent again.
func TestRejected(t *testing.T) {
	server := bridgetest.Start(t)
	target := open(t, Config{Config: bridge.Config{URL: server.URL()}})
	all := records(t, target, "1", "2", "3", "4", "5")
	answer := send(t, target, all...)
	peer := server.Welcome(wire.V5, wire.Packet{})
	for _, code := range []wire.Code{wire.Success, wire.NotAuthorized, wire.Success, wire.TopicNameInvalid, wire.QuotaExceeded} {
		peer.Acknowledge(peer.Expect(wire.Publish).ID, code)
	}
	got := soon(t, answer)
	if got.done != 1 || !pump.IsRefused(got.err) {
		t.Fatalf("%+v", got)
	}
	got = soon(t, send(t, target, all[2], all[3])) // of which all is known
	if got.done != 1 || !pump.IsRefused(got.err) {
		t.Fatalf("%+v", got)
	}
	answer = send(t, target, all[4]) // quota: it comes again
	p := peer.Expect(wire.Publish)
	if string(p.Payload) != "5" {
		t.Errorf("%s comes again", p.Payload)
	}
	peer.Acknowledge(p.ID, wire.Success)
	if got = soon(t, answer); got.done != 1 || got.err != nil {
		t.Errorf("%+v", got)
	}
	if len(target.rejected) > 0 {
		t.Errorf("it remembers %d", len(target.rejected))
	}
}

// Lanes share a connection, and the next one when it is cut.
func TestReconnects(t *testing.T) {
	server := bridgetest.Start(t)
	target := open(t, Config{Config: bridge.Config{URL: server.URL()}})
	one, two := records(t, target, "1"), records(t, target, "2")
	first, second := send(t, target, one...), send(t, target, two...)
	peer := server.Welcome(wire.V5, wire.Packet{})
	peer.Expect(wire.Publish)
	peer.Expect(wire.Publish)
	peer.Cut()
	for _, answer := range []<-chan sent{first, second} {
		if got := soon(t, answer); got.done != 0 || got.err == nil || pump.IsRefused(got.err) || pump.IsMisconfigured(got.err) {
			t.Errorf("%+v", got)
		}
	}
	first = send(t, target, one...)
	peer = server.Welcome(wire.V5, wire.Packet{})
	peer.Acknowledge(peer.Expect(wire.Publish).ID, wire.Success)
	if got := soon(t, first); got.done != 1 || got.err != nil {
		t.Errorf("%+v", got)
	}
}

// What a message has goes along; what has expired does not go.
func TestPacket(t *testing.T) {
	server := bridgetest.Start(t)
	target := open(t, Config{Config: bridge.Config{URL: server.URL()}})
	now := time.Now()
	m := &message.Message{
		Topic: "a/1", Payload: []byte("text"), ContentType: "text/plain", PayloadFormat: 1, Kept: true, Expiry: now.Add(time.Hour).UnixMilli(),
		Request: &message.Request{ResponseTopic: "answer", CorrelationData: []byte("c")}, Properties: user("k", "v"),
	}
	late := &message.Message{Topic: "a/2", Expiry: now.Add(-time.Second).UnixMilli()}
	var all []*pump.Record
	for _, each := range []*message.Message{late, m} {
		r, err := prepare(target, each)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	answer := send(t, target, all...)
	peer := server.Welcome(wire.V5, wire.Packet{})
	p := peer.Expect(wire.Publish)
	q := &p.Properties
	if p.Topic != "a/1" || string(p.Payload) != "text" || !p.Retain || q.ContentType != "text/plain" || !q.TextPayload || q.ResponseTopic != "answer" ||
		string(q.CorrelationData) != "c" || q.MessageExpiry < 3500 || q.MessageExpiry > 3600 || q.User[0] != (message.Property{Key: "k", Value: "v"}) {
		t.Errorf("%+v", p)
	}
	peer.Acknowledge(p.ID, wire.Success)
	if got := soon(t, answer); got.done != 2 || got.err != nil || target.expired.N() != 1 {
		t.Errorf("%+v", got)
	}
}

// A broker that is not there, or refuses, is no reason to give a message up; and not at once a reason to stop.
func TestAway(t *testing.T) {
	target := open(t, Config{Config: bridge.Config{URL: "mqtt://127.0.0.1:1"}})
	if got := soon(t, send(t, target, records(t, target, "1")...)); got.err == nil || pump.IsRefused(got.err) || pump.IsMisconfigured(got.err) {
		t.Errorf("%+v", got)
	}
	server := bridgetest.Start(t)
	target = open(t, Config{Config: bridge.Config{URL: server.URL()}})
	answer := send(t, target, records(t, target, "1")...)
	server.Welcome(wire.V5, wire.Packet{Reason: wire.BadUsernameOrPassword})
	refusal := (*bridge.Refusal)(nil)
	if got := soon(t, answer); !errors.As(got.err, &refusal) || pump.IsMisconfigured(got.err) {
		t.Errorf("%+v", got)
	}
}

func TestWrongConfigs(t *testing.T) {
	right := Config{Config: bridge.Config{URL: "mqtt://a"}}
	for key, change := range map[string]func(c *Config){
		"url":         func(c *Config) { c.URL = "http://a" },
		"url ":        func(c *Config) { c.URL = "mqtt://user@a" },
		"url  ":       func(c *Config) { c.URL = "mqtt://a/path" },
		"version":     func(c *Config) { c.Version = "4" },
		"keep_alive":  func(c *Config) { c.KeepAlive = time.Millisecond },
		"broker":      func(c *Config) { c.Broker = "a,b" },
		"max_packet":  func(c *Config) { c.MaxPacket = 1 },
		"tls.cert":    func(c *Config) { c.TLS.Cert = "a" },
		"topics":      func(c *Config) { c.Topics = []string{"a ->"} },
		"retain":      func(c *Config) { c.Retain = "always" },
		"topics more": func(c *Config) { c.Topics = []string{"a -> {nothing}"} },
	} {
		c := right
		change(&c)
		key, _, _ = strings.Cut(key, " ")
		if err := c.WithDefaults().Validate(); err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := right.WithDefaults().Validate(); err != nil {
		t.Error(err)
	}
}
