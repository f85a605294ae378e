package fleet

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

var aReport = Report{
	Devices: 3,
	Rows:    10,
	Tally: Tally{Connected: 2, Dials: 6, Reconnects: 1, GaveUp: 1, Sent: 9, Acknowledged: 7, Refused: 1,
		Retried: 4, Resent: 5, Unsent: 1, Waiting: 1, Received: 8, Calls: 2, Pings: 3},
	ConnectLatency: Latency{1, 2, 3, 4},
	AckLatency:     Latency{0.5, 1.25, 3, 1000},
	Elapsed:        61.5,
	Reasons:        map[string]uint64{"refused: not_allowed": 1, "connect: connection refused": 3},
}

const aReportText = `devices       3, 2 connected, 1 gave up
connections   6 dialed, 1 reconnects
rows          10 in the recording
sent          9 (5 sent again)
acknowledged  7
refused       1 for good, 4 for want of room and tried again
not sent      0 skipped when due, 1 never sent, 1 without an answer
received      8 messages, 2 calls and 3 pings answered
connecting    p50 1.000 ms, p90 2.000 ms, p99 3.000 ms, max 4.000 ms
ack latency   p50 0.500 ms, p90 1.250 ms, p99 3.000 ms, max 1000.000 ms
elapsed       1m1.5s
reason        3 x connect: connection refused
reason        1 x refused: not_allowed
`

func TestReportText(t *testing.T) {
	var b strings.Builder
	if err := aReport.WriteText(&b); err != nil || b.String() != aReportText {
		t.Errorf("%v\n%s", err, &b)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = full.Close() }()
	if err := aReport.WriteText(full); err == nil {
		t.Error("no error of a writer that failed")
	}
}

func TestReportJSON(t *testing.T) {
	b, err := json.Marshal(aReport)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"devices":3,"rows":10,"connected":2,"dials":6,"reconnects":1,"gave_up":1,"sent":9,"acknowledged":7,` +
		`"refused":1,"retried":4,"resent":5,"skipped":0,"unsent":1,"waiting":1,"received":8,"calls":2,"pings":3,` +
		`"connect_latency_ms":{"p50":1,"p90":2,"p99":3,"max":4},"ack_latency_ms":{"p50":0.5,"p90":1.25,"p99":3,"max":1000},"elapsed_s":61.5,` +
		`"reasons":{"connect: connection refused":3,"refused: not_allowed":1}}`
	if string(b) != want {
		t.Errorf("%s\nwant %s", b, want)
	}
}

func TestProgressLine(t *testing.T) {
	p := &progress{fleet: &Fleet{devices: 5}}
	line := func(s Snapshot, now time.Duration, want string) {
		t.Helper()
		if got := p.line(s, now); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	s := Snapshot{Tally: Tally{Connected: 4, Sent: 100, Acknowledged: 90, Refused: 2}, lastReason: "no room"}
	line(s, 2*time.Second, "4/5 connected, 100 sent (50/s), 90 acknowledged, 2 refused; no room")
	p.recording = &recording{rows: 200}
	s.Connected, s.Sent, s.Unsent = 5, 400, 8
	line(s, 3*time.Second, "[############............] 100/200 rows, 5/5 connected, 400 sent (300/s), 90 acknowledged, 2 refused")
	s.Acknowledged = 190
	line(s, 4*time.Second, "[########################] 200/200 rows, 5/5 connected, 400 sent (0/s), 190 acknowledged, 2 refused")
}

// Without a terminal, progress is whole lines, and the last one is written at the end.
func TestProgressPlain(t *testing.T) {
	g := newGateway(t, script{})
	var out bytes.Buffer
	_, err := Run(t.Context(), Config{Gateway: "ws://" + g.group.Addr().String(), Replay: recordings[0].replay}, &out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "[########################] 5/5 rows, 2/2 connected, 5 sent (") || strings.ContainsAny(out.String(), "\r\x1b") {
		t.Errorf("%q", out.String())
	}
}
