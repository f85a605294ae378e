package fleet

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/wire"
)

var frames = Replay{
	Files:    []string{"testdata/ocpp.csv", "testdata/ocpp.jsonl"},
	IDColumn: "cp", TimeColumn: "time", FrameColumn: "frame",
}

// Frames of a recording arrive at a real gateway unchanged, and those of each charger in order.
func TestReplayOfFrames(t *testing.T) {
	g, b := realGateway(t, gateway.Config{RawProtocols: []string{"ocpp1.6"}}, "device/+/up")
	report, err := Run(t.Context(), Config{Gateway: "ws://" + g.Addr().String(), Protocol: "ocpp1.6", Replay: frames}, nil)
	if err != nil || !report.Complete() || report.Sent != 6 || report.Acknowledged != 0 {
		t.Errorf("%v, report: %+v", err, report)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for device, want := range map[string][]string{
		"CP-1": {
			`[2,"19","BootNotification",{"chargePointVendor":"X, Inc.","chargePointModel":"7"}]`,
			`[2,"20","StatusNotification",{"info":"says \"hi\"","connectorId":1}]`,
			`[3,"a7",{"status":"Accepted"}]`,
		},
		"CP-2": {`[2, "1", "Heartbeat", {}]`, `[2, "2","Heartbeat",{}]`, `[4,"a8","NotSupported","",{}]`},
	} {
		if got := b.got["device/"+device+"/up"]; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", device, got, want)
		}
	}
	var text bytes.Buffer
	if err := report.WriteText(&text); err != nil || strings.Contains(text.String(), "ack") {
		t.Errorf("%v, the report tells of acknowledgements:\n%s", err, &text)
	}
}

// The fleet sends many more frames than the window holds, in order, and the last has arrived when the run ends.
func TestReplayOfManyFrames(t *testing.T) {
	g, b := realGateway(t, gateway.Config{RawProtocols: []string{"ocpp2.0.1"}}, "device/+/up")
	replay, want := frameRecording(t, 5000, "[2]")
	report, err := Run(t.Context(), Config{Gateway: "ws://" + g.Addr().String(), Protocol: "ocpp2.0.1", Window: 3, Replay: replay}, nil)
	if err != nil || !report.Complete() {
		t.Errorf("%v, report: %+v", err, report)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := b.got["device/a/up"]; !slices.Equal(got, want) {
		t.Errorf("%d frames, want %d in order", len(got), len(want))
	}
}

// frameRecording writes a recording of one charger.
func frameRecording(t *testing.T, rows int, frame string) (r Replay, want []string) {
	t.Helper()
	text := "id;t;f\n" + strings.Repeat("a;1767600000;"+frame+"\n", rows)
	want = slices.Repeat([]string{frame}, rows)
	file := filepath.Join(t.TempDir(), "frames.csv")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Replay{Files: []string{file}, IDColumn: "id", TimeColumn: "t", FrameColumn: "f"}, want
}

// A frame that was written when the connection was cut may have been lost: the device sends it again. The fleet counts the
// gateway's frames, whatever they are.
func TestFramesAfterCuts(t *testing.T) {
	g := newGateway(t, script{
		hello: func(p *peer) {
			m := &wire.Packet{Op: wire.Msg}
			m.Message.Payload = []byte("hi")
			p.send(m)
		},
		pub: func(p *peer, _ *wire.Packet) {
			if p.attempt == 1 {
				p.conn.Close()
			}
		},
	})
	const rows = 400 // more than the kernel takes
	replay, _ := frameRecording(t, rows, strings.Repeat("x", 64<<10))
	report, err := g.run(Config{Protocol: "ocpp1.6", Replay: replay})
	if err != nil || !report.Complete() || report.Sent != rows || report.Received == 0 || report.Reconnects != 1 || report.Resent == 0 {
		t.Errorf("%v, report: %+v", err, report)
	}
}

func TestFrameErrors(t *testing.T) {
	g, _ := realGateway(t, gateway.Config{}, "#")
	empty := filepath.Join(t.TempDir(), "F")
	if err := os.WriteFile(empty, []byte("cp,time,frame\na,1,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(change func(c *Config)) Config {
		c := Config{Protocol: "ocpp1.6", Replay: frames, Gateway: "ws://" + g.Addr().String(), Reconnect: Backoff{Min: 1, MaxTries: 1}}
		change(&c)
		return c
	}
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{with(func(c *Config) { c.Protocol = "" }), `protocol "json": want the subprotocol of the frames`},
		{with(func(c *Config) { c.Protocol = "longline.v1.json" }), `protocol "longline.v1.json": want the subprotocol`},
		{with(func(c *Config) { c.Protocol = "a, b" }), `protocol "a, b": want the subprotocol`},
		{with(func(c *Config) { c.Replay = Replay{} }), `protocol "ocpp1.6": want json or protobuf`},
		{with(func(c *Config) { c.Subscribe = []string{"a"} }), `subscribe: devices of ocpp1.6`},
		{with(func(c *Config) { c.Replay.FrameColumn = "cp" }), `column "cp" cannot be both`},
		{with(func(c *Config) { c.Replay.FrameColumn = "gram" }), `ocpp.csv:1:1: there is no column "gram"`},
		{with(func(c *Config) { c.Replay.Files = []string{empty} }), `F:2:5: the frame is empty`},
	} {
		if _, err := Run(t.Context(), tt.config, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	report, _ := Run(t.Context(), with(func(*Config) {}), nil)
	if refused := report.Reasons["websocket: handshake failed: Bad Request (status 400)"]; refused == 0 || report.Complete() {
		t.Errorf("a gateway that does not speak the subprotocol: %+v", report)
	}
}
