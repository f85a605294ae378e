package gateway

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/wire"
)

// The scenarios under testdata are scripts of what devices and a backend send and get, one
// step a line; testdata/README.md tells how to read them. Packets are written as JSON. A
// script runs in each protocol, with its packets translated, unless it names another.
func TestScenarios(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, path := range paths {
		script, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, codec := range []wire.Codec{wire.JSON, wire.Protobuf} {
			name := strings.TrimSuffix(filepath.Base(path), ".txt") + "/" + codec.Name()
			t.Run(name, func(t *testing.T) { runScenario(t, codec, string(script)) })
			if !bytes.Contains(script, []byte(" connects /")) {
				break // every device names its protocol: once is enough
			}
		}
	}
}

// The scenarios that docs/protocol.md shows are those that run.
func TestDocumentedScenarios(t *testing.T) {
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?ms)^```scenario (\\S+)\n(.*?)^```$").FindAllSubmatch(doc, -1)
	if len(shown) == 0 {
		t.Fatal("none found")
	}
	for _, m := range shown {
		script, err := os.ReadFile("testdata/" + string(m[1]))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(script, m[2]) {
			t.Errorf("%s differs from what docs/protocol.md shows", m[1])
		}
	}
}

// play is a scenario under way.
type play struct {
	t       *scriptTB
	codec   wire.Codec
	world   *world
	config  settings
	peers   map[string]*actor
	bound   map[string]string // values of placeholders
	inbox   *router.Inbox
	inboxed []*message.Message // taken from inbox, not expected yet
	calls   chan string        // outcomes of the backend's calls

	services scripted
	asked    *scriptedCall // the last that a service got
}

// actor is a device in a play.
type actor struct {
	*peer
	codec wire.Codec
}

// scriptTB names the line of the script in what it reports.
type scriptTB struct {
	*testing.T
	line int
}

func (s *scriptTB) Fatal(args ...any) {
	s.Helper()
	s.T.Fatalf("line %d: %s", s.line, fmt.Sprint(args...))
}

func (s *scriptTB) Fatalf(format string, args ...any) {
	s.Helper()
	s.T.Fatalf("line %d: %s", s.line, fmt.Sprintf(format, args...))
}

func runScenario(t *testing.T, codec wire.Codec, script string) {
	p := &play{
		t: &scriptTB{T: t}, codec: codec,
		config: settings{gateway: Config{RawProtocols: []string{"ocpp1.6"}}},
		peers:  map[string]*actor{}, bound: map[string]string{}, calls: make(chan string, 1),
		services: newScripted(),
	}
	p.config.sessions.Services = p.services
	for line := range strings.Lines(script) {
		p.t.line++
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			p.step(line)
		}
	}
	for _, a := range p.peers {
		if a.ws != nil {
			a.quiet()
		}
	}
}

var packetStep = regexp.MustCompile(`^(\w+)([<>]) (.*)$`)

func (p *play) step(line string) {
	if rest, ok := strings.CutPrefix(line, "world "); ok {
		p.configure(rest)
		return
	}
	if p.world == nil {
		p.world = newWorld(p.t, p.config)
	}
	if m := packetStep.FindStringSubmatch(line); m != nil {
		p.packet(m[1], m[2], m[3])
		return
	}
	name, rest, _ := strings.Cut(line, " ")
	verb, rest, _ := strings.Cut(rest, " ")
	if name == "backend" {
		p.backend(verb, rest)
		return
	}
	if name == "service" {
		p.service(verb, rest)
		return
	}
	p.device(name, verb, rest)
}

// configure reads pairs such as in_flight=2.
func (p *play) configure(rest string) {
	for _, pair := range strings.Fields(rest) {
		key, value, _ := strings.Cut(pair, "=")
		if key == "max_wait" {
			p.config.router.MaxWait, _ = time.ParseDuration(value)
			continue
		}
		field, ok := map[string]*int{
			"in_flight":         &p.config.sessions.InFlight,
			"max_subscriptions": &p.config.sessions.MaxSubscriptions,
			"max_filters":       &p.config.sessions.MaxFilters,
			"queue.bytes":       &p.config.store.Queue.Bytes,
			"queue.count":       &p.config.store.Queue.Count,
			"max_payload":       &p.config.gateway.MaxPayload,
			"service_calls":     &p.config.sessions.ServiceCalls,
		}[key]
		n, err := strconv.Atoi(value)
		if !ok || err != nil {
			p.t.Fatalf("world %s: unknown", pair)
		}
		*field = n
	}
}

// packet sends or expects one.
func (p *play) packet(name, way, text string) {
	if name == "backend" {
		p.match(text, p.inboxNext())
		return
	}
	a := p.actor(name)
	switch {
	case way == ">":
		a.send(a.translate(p.fill(text)))
	case text == "nothing":
		a.quiet()
	default:
		p.match(text, a.show(a.next()))
	}
}

func (p *play) actor(name string) *actor {
	a := p.peers[name]
	if a == nil || a.ws == nil {
		p.t.Fatalf("%s is not connected", name)
	}
	return a
}

// translate makes a frame of a packet in JSON. JSON is sent as it is written.
func (a *actor) translate(text string) []byte {
	if a.codec != wire.Protobuf {
		return []byte(text)
	}
	frame, err := wire.Protobuf.Append(nil, parsePacket(a.t, text))
	if err != nil {
		a.t.Fatal(err)
	}
	return frame
}

// show writes a frame that came as JSON.
func (a *actor) show(frame []byte) string {
	if a.codec != wire.Protobuf {
		return string(frame)
	}
	var packet wire.Packet
	if err := wire.Protobuf.Decode(&packet, frame, false); err != nil {
		a.t.Fatal(err)
	}
	return showPacket(a.t, &packet)
}

func parsePacket(t testing.TB, text string) *wire.Packet {
	var packet wire.Packet
	if err := wire.JSON.Decode(&packet, []byte(text), true); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return &packet
}

func showPacket(t testing.TB, packet *wire.Packet) string {
	text, err := wire.JSON.Append(nil, packet)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var placeholder = regexp.MustCompile(`<[a-z]\w*>`)

// fill puts the values of placeholders into a line.
func (p *play) fill(line string) string {
	return placeholder.ReplaceAllStringFunc(line, func(name string) string {
		value, ok := p.bound[name]
		if !ok {
			p.t.Fatalf("%s has no value yet", name)
		}
		return value
	})
}

// match compares what came with a line. A placeholder takes a value where it stands first
// and must meet the same later.
func (p *play) match(want, got string) {
	p.t.Helper()
	var pattern strings.Builder
	var names []string
	at := 0
	for _, span := range placeholder.FindAllStringIndex(want, -1) {
		pattern.WriteString(regexp.QuoteMeta(want[at:span[0]]))
		name := want[span[0]:span[1]]
		if value, ok := p.bound[name]; ok {
			pattern.WriteString(regexp.QuoteMeta(value))
		} else {
			pattern.WriteString(`([0-9a-z]+)`)
			names = append(names, name)
		}
		at = span[1]
	}
	pattern.WriteString(regexp.QuoteMeta(want[at:]))
	found := regexp.MustCompile("^" + pattern.String() + "$").FindStringSubmatch(got)
	if found == nil {
		p.t.Fatalf("got  %s\nwant %s\nwith %v", got, want, p.bound)
	}
	for i, name := range names {
		if value, ok := p.bound[name]; ok && value != found[i+1] {
			p.t.Fatalf("%s is %s and %s in %s", name, value, found[i+1], got)
		}
		p.bound[name] = found[i+1]
	}
}

// device does what a device does besides sending packets.
func (p *play) device(name, verb, rest string) {
	switch verb {
	case "connects":
		p.connects(name, rest)
	case "refused":
		p.match(rest, p.peers[name].status)
	case "away":
		p.world.awaitPresence(name, false)
	default:
		p.connected(p.actor(name), name, verb, rest)
	}
}

func (p *play) connects(name, rest string) {
	a := &actor{codec: p.codec}
	subprotocols := []string{p.codec.Name()}
	if named, target, ok := strings.Cut(rest, " "); ok {
		a.codec, rest = wire.NewRaw(named), target
		subprotocols = []string{named}
		if named == "-" {
			a.codec, subprotocols = wire.JSON, nil
		}
	}
	a.peer = p.world.connect(rest, subprotocols...)
	a.text = a.codec.Text()
	if a.ws != nil && len(subprotocols) > 0 && a.ws.Subprotocol() != subprotocols[0] {
		p.t.Fatalf("the gateway chose %q", a.ws.Subprotocol())
	}
	p.peers[name] = a
}

// connected does what needs a connection.
func (p *play) connected(a *actor, name, verb, rest string) {
	switch verb {
	case "sends":
		a.sends(rest)
	case "cuts":
		_ = a.tcp.Close()
		delete(p.peers, name)
	case "closes":
		code, _ := strconv.Atoi(rest)
		if err := a.ws.Close(coder.StatusCode(code), ""); err != nil {
			p.t.Fatalf("the close frame was not answered: %v", err)
		}
		delete(p.peers, name)
	case "closed":
		e := a.closed()
		p.match(rest, fmt.Sprintf("%d %s", e.Code, e.Reason))
		delete(p.peers, name)
	default:
		p.t.Fatalf("unknown step: %s %s", verb, rest)
	}
}

// sends writes what no well-behaved device would: text and binary frames, or bytes below
// WebSocket, the last two in hex.
func (a *actor) sends(what string) {
	kind, rest, _ := strings.Cut(what, " ")
	if a.text = kind == "text"; a.text {
		a.send([]byte(rest))
		return
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
	if err != nil {
		a.t.Fatal(err)
	}
	if kind == "binary" {
		a.send(raw)
	} else if _, err := a.tcp.Write(raw); err != nil {
		a.t.Fatal(err)
	}
}

// backend does what a backend does.
func (p *play) backend(verb, rest string) {
	switch verb {
	case "subscribes":
		p.inbox = p.world.subscribe(rest)
	case "publishes":
		m := &parsePacket(p.t, rest).Message
		m.Time = time.Now().UnixMilli()
		if _, err := p.world.router.Publish(m, nil); err != nil {
			p.t.Fatal(err)
		}
	case "broadcasts":
		filter, rest, _ := strings.Cut(rest, " ")
		m := &parsePacket(p.t, rest).Message
		m.Time = time.Now().UnixMilli()
		if _, err := p.world.sessions.Broadcast(p.t.Context(), m, strings.TrimPrefix(filter, "all")); err != nil {
			p.t.Fatal(err)
		}
	case "kicks":
		if !p.world.sessions.Disconnect(rest, wire.CloseKicked) {
			p.t.Fatal("there is no connection")
		}
	case "calls":
		p.call(rest)
	case "gets":
		p.match(rest, p.outcome())
	default:
		p.t.Fatalf("unknown step: backend %s", verb)
	}
}

// inboxNext shows the next message of the backend's subscription.
func (p *play) inboxNext() string {
	if len(p.inboxed) == 0 {
		ctx, cancel := context.WithTimeout(p.t.Context(), patience)
		defer cancel()
		var err error
		if p.inboxed, _, err = p.inbox.Take(ctx, nil); err != nil {
			p.t.Fatal(err)
		}
	}
	m := p.inboxed[0]
	p.inboxed = p.inboxed[1:]
	packet := &wire.Packet{Op: wire.Msg, ID: m.ID}
	packet.Message.Topic, packet.Message.Payload, packet.Message.ContentType = m.Topic, m.Payload, m.ContentType
	packet.Message.QoS, packet.Message.Time, packet.Message.Properties = m.QoS, m.Time, m.Properties
	return showPacket(p.t, packet)
}

// call starts a call such as "a within 5s: reboot {}".
func (p *play) call(rest string) {
	head, what, _ := strings.Cut(rest, ": ")
	device, within, _ := strings.Cut(head, " within ")
	method, payload, _ := strings.Cut(what, " ")
	timeout, err := time.ParseDuration(within)
	if err != nil {
		p.t.Fatal(err)
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		reply, err := p.world.sessions.Call(ctx, device, method, []byte(payload), jsonType(payload))
		p.calls <- outcome(reply, err)
	}()
}

func jsonType(payload string) string {
	if payload == "" {
		return ""
	}
	return message.JSON
}

func outcome(reply devices.Reply, err error) string {
	switch {
	case err != nil:
		return "failure " + err.Error()
	case reply.Err.Code != "":
		return "error " + reply.Err.Error()
	}
	return strings.TrimSpace("reply " + string(reply.Payload))
}

func (p *play) outcome() string {
	select {
	case got := <-p.calls:
		return got
	case <-time.After(patience):
		p.t.Fatal("the call does not end")
		return ""
	}
}
