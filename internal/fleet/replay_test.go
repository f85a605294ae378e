package fleet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longline/longline/internal/wire"
)

var recordings = []struct {
	replay Replay
	want   map[string][]string
}{
	{
		Replay{Files: []string{"testdata/comma.csv"}, IDColumn: "meter", TimeColumn: "time"},
		map[string][]string{
			"m-1": {
				`{"meter":"m-1","time":"2026-01-05 08:00:00","kW":1.50,"note":"start"}`,
				`{"meter":"m-1","time":"2026-01-05 08:00:01","kW":-2e3,"note":""}`,
				`{"meter":"m-1","time":"2026-01-05 08:00:02","kW":0,"note":"end"}`,
			},
			"m-2": {
				`{"meter":"m-2","time":"2026-01-05 08:00:00","kW":"007","note":"says \"hi\", twice"}`,
				`{"meter":"m-2","time":"2026-01-05 08:00:02","kW":"NA","note":"two\u000alines"}`,
			},
		},
	},
	{
		Replay{Files: []string{"testdata/semicolon.csv"}, IDColumn: "Zähler", TimeColumn: "Zeit", TimeFormat: "02.01.2006 15:04", DecimalComma: true},
		map[string][]string{
			"Halle_3_S_d": {
				`{"Zähler":"Halle 3/Süd","Zeit":"05.01.2026 08:00","Leistung":12.5,"Text":"a;b"}`,
				`{"Zähler":"Halle 3/Süd","Zeit":"05.01.2026 08:01","Leistung":-0.25,"Text":"<&>"}`,
			},
			"Hof": {`{"Zähler":"Hof","Zeit":"05.01.2026 08:00","Leistung":"1.234,5","Text":"x"}`},
		},
	},
	{
		Replay{Files: []string{"testdata/tab.csv"}, IDColumn: "id", TimeColumn: "ms"},
		map[string][]string{
			"a": {`{"id":"a","ms":1767600000000,"v":1}`, `{"id":"a","ms":1767600001000,"v":3}`},
			"b": {`{"id":"b","ms":1767600000500,"v":2}`},
		},
	},
}

func TestReplay(t *testing.T) {
	for _, tt := range recordings {
		for _, protocol := range []string{"json", "protobuf"} {
			t.Run(filepath.Base(tt.replay.Files[0])+"/"+protocol, func(t *testing.T) {
				g := newGateway(t, script{})
				report, err := g.run(Config{Protocol: protocol, Replay: tt.replay})
				if err != nil {
					t.Fatal(err)
				}
				rows := 0
				for device, want := range tt.want {
					if got := g.got(device); !slices.Equal(got, want) {
						t.Errorf("%s: %q, want %q", device, got, want)
					}
					rows += len(want)
				}
				if report.Rows != rows || report.Sent != uint64(rows) || report.Acknowledged != uint64(rows) ||
					report.Devices != len(tt.want) || report.Connected != len(tt.want) || !report.Complete() {
					t.Errorf("report: %+v", report)
				}
				if l := report.AckLatency; l.P50 <= 0 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.Max {
					t.Errorf("latencies: %+v", l)
				}
			})
		}
	}
}

// Two seconds of rows take 200 ms at ten times real time.
func TestReplaySpeed(t *testing.T) {
	g := newGateway(t, script{})
	replay := recordings[0].replay
	replay.Speed = 10
	began := time.Now()
	if _, err := g.run(Config{Replay: replay}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("took %v, want 200 ms at least", took)
	}
}

// record writes a recording of rows whose values count up, from each device in turn.
func record(t *testing.T, rows int, devices ...string) Replay {
	t.Helper()
	var b strings.Builder
	b.WriteString("id,t,n\n")
	for i := range rows {
		b.WriteString(devices[i%len(devices)] + ",1767600000," + strconv.Itoa(i) + "\n")
	}
	file := filepath.Join(t.TempDir(), "rows.csv")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return Replay{Files: []string{file}, IDColumn: "id", TimeColumn: "t"}
}

// recorded returns the payloads that record has for the i-th of n devices.
func recorded(rows, i, n int, device string) (out []string) {
	for ; i < rows; i += n {
		out = append(out, `{"id":"`+device+`","t":1767600000,"n":`+strconv.Itoa(i)+`}`)
	}
	return out
}

// If a receiver's queue is full for a while, no row is lost or reordered.
func TestReplayRetriesRefusals(t *testing.T) {
	const rows = 200
	g := newGateway(t, script{pub: func(p *peer, pub *wire.Packet) {
		if p.seen >= 50 && p.seen < 80 { // in order, as a gateway's answers are
			p.ack(pub.ID, queueFull)
			return
		}
		p.take(pub)
	}})
	report, err := g.run(Config{Replay: record(t, rows, "a"), Window: 10})
	if err != nil {
		t.Fatal(err)
	}
	if want := recorded(rows, 0, 1, "a"); !slices.Equal(g.got("a"), want) {
		t.Errorf("taken: %q", g.got("a"))
	}
	if report.Retried != 30 || report.Resent != 30 || report.Acknowledged != rows || !report.Complete() {
		t.Errorf("report: %+v", report)
	}
}

func TestReplayCountsOtherRefusals(t *testing.T) {
	g := newGateway(t, script{pub: func(p *peer, pub *wire.Packet) {
		if p.seen == 2 {
			p.ack(pub.ID, "not_allowed")
			return
		}
		p.take(pub)
	}})
	report, err := g.run(Config{Replay: record(t, 5, "a")})
	if err != nil {
		t.Fatal(err)
	}
	if report.Refused != 1 || report.Acknowledged != 4 || report.Complete() || report.Reasons["refused: not_allowed"] != 1 {
		t.Errorf("report: %+v", report)
	}
}

// If connections are cut again and again, with acknowledged and unacknowledged rows under way, all rows
// arrive in order, some of them twice.
func TestReplayAfterCuts(t *testing.T) {
	const rows = 300
	g := newGateway(t, script{pub: func(p *peer, pub *wire.Packet) {
		switch {
		case p.attempt <= 4 && p.seen == 25:
			p.conn.Close()
		case p.attempt <= 4 && p.seen == 24: // the gateway has it, but the answer is lost
			p.g.mu.Lock()
			p.g.taken[p.device] = append(p.g.taken[p.device], string(pub.Message.Payload))
			p.g.mu.Unlock()
		default:
			p.take(pub)
		}
	}})
	report, err := g.run(Config{Replay: record(t, rows, "a", "b"), Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i, device := range []string{"a", "b"} {
		if got := unique(g.got(device)); !slices.Equal(got, recorded(rows, i, 2, device)) {
			t.Errorf("%s: %q", device, got)
		}
		if repeated := len(g.got(device)) - rows/2; repeated < 4 {
			t.Errorf("%s: %d rows came again, want those of 4 cuts at least", device, repeated)
		}
	}
	if report.Reconnects != 8 || report.Resent < 16 || report.Sent != rows || !report.Complete() {
		t.Errorf("report: %+v", report)
	}
}

// A device that has given up does not hold up the rows of others.
func TestReplayOfDeviceThatGaveUp(t *testing.T) {
	const rows = 100
	g := newGateway(t, script{hello: func(p *peer) {
		if p.device == "bad" {
			p.close(4005, "kicked")
		}
	}})
	replay := record(t, rows, "good", "bad")
	replay.LookAhead = 8
	report, err := g.run(Config{Replay: replay, Reconnect: Backoff{MaxTries: 2}})
	if err != nil {
		t.Fatal(err)
	}
	if report.GaveUp != 1 || report.Unsent+report.Sent < rows || report.Acknowledged != rows/2 || report.Waiting != 0 || report.Complete() {
		t.Errorf("report: %+v", report)
	}
	if n := report.Reasons["closed by the gateway: 4005 kicked"]; n != 3 {
		t.Errorf("reasons: %v", report.Reasons)
	}
	if !slices.Equal(g.got("good"), recorded(rows, 0, 2, "good")) {
		t.Errorf("taken: %q", g.got("good"))
	}
}

func TestReplayRowLargerThanMaxPayload(t *testing.T) {
	g := newGateway(t, script{maxPayload: 10})
	report, err := g.run(Config{Replay: record(t, 3, "a")})
	if err != nil {
		t.Fatal(err)
	}
	if report.Unsent != 3 || report.Sent != 0 || report.Complete() {
		t.Errorf("report: %+v", report)
	}
}

// An interrupted replay still prints its report.
func TestReplayInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int32
	g := newGateway(t, script{pub: func(p *peer, pub *wire.Packet) {
		p.take(pub)
		if n.Add(1) == 2 {
			cancel()
		}
	}})
	replay := recordings[0].replay
	replay.Speed = 0.01 // the third row is due after 100 s
	report, err := g.runUntil(ctx, Config{Replay: replay})
	if !errors.Is(err, context.Canceled) || report.Acknowledged != 2 || report.Complete() {
		t.Errorf("%v, report: %+v", err, report)
	}
}
