package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// audit runs longline audit and returns its output in single spaces.
func (p *program) audit(want int, args ...string) string {
	p.t.Helper()
	code, stdout, stderr := longline(p.t, append([]string{"audit", "--server", "http://" + p.admin}, args...)...)
	if code != want {
		p.t.Errorf("longline audit %v: exit code %d, want %d: %s", args, code, want, stderr)
	}
	return regexp.MustCompile(` +`).ReplaceAllString(stdout, " ")
}

func wantLines(t *testing.T, got string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(got, line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
}

// The ledger says what became of every message, over an end in order and over a kill, of which it says what is not known.
func TestAudit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := serveData(t, dir)
	away := p.mqtt("away", false)
	away.subscribe("news/#")
	away.leave()
	publisher := p.mqtt("publisher", false)
	publisher.publish("news/a", "one", 1, 1, nil)
	publisher.publish("news/b", "two", 2, 2, nil)
	wantLines(t, p.audit(exitDone), "\n waiting 2 0 0 2\n", "\n (acknowledged) 2 0 0 0 0 2\n")
	wantLines(t, p.audit(exitDone, "--device", "away"), "away, away, session", "\n taken 2\n", "\n waiting 2\n")
	wantLines(t, p.audit(exitDone, "--unbalanced"), "the ledgers of all devices balance\n")
	if _, _, stderr := longline(t, "audit", "--server", p.admin, "--device", "nobody"); !strings.Contains(stderr, "not_found") {
		t.Errorf("an unknown device: %q", stderr)
	}
	p.signal()
	if code := p.exitCode(); code != exitDone {
		t.Errorf("exit code %d", code)
	}

	p = serveData(t, dir)
	p.mqtt("away", true).wantNext("news/a=one qos 1 id 1 dup false retain false", "news/b=two qos 2 id 2 dup false retain false")
	wantLines(t, p.audit(exitDone), "\n found 2 0 0 2\n", "earlier lives of the node: 1, since ", "; not ended in order: 0\n", "found by this life 2\n")
	p.kill()

	p = serveData(t, dir)
	var l longlinev1.GetLedgerResponse
	if err := protojson.Unmarshal([]byte(p.audit(exitDone, "--json")), &l); err != nil {
		t.Fatal(err)
	}
	e, found := l.Earlier, l.Received.Found
	if e.GetLives() != 2 || e.GetKilled() != 1 || e.GetReceived().GetTaken() != 2 || e.GetCarried() != found || e.GetUnknown() != 2-int64(found) || len(e.GetGaps()) != 1 || !l.Balanced {
		t.Errorf("after a kill, which found %d: %v", found, e)
	}
	if body := p.get("/metrics"); !strings.Contains(body, "\nlongline_ledger_unbalanced 0\n") || !strings.Contains(body, "\nlongline_ledger_lost 0\n") {
		t.Error("the metrics of the ledger are not there")
	}
}

// unbalanced is a gateway with faults in its ledger.
type unbalanced struct {
	longlinev1connect.UnimplementedGatewayHandler
}

func (unbalanced) GetLedger(context.Context, *connect.Request[longlinev1.GetLedgerRequest]) (*connect.Response[longlinev1.GetLedgerResponse], error) {
	r := &longlinev1.ReceiverLedger{Taken: 3, Delivered: 1, Dropped: []*longlinev1.LedgerCount{{Reason: "expired", Messages: 1}}, Difference: 1}
	return connect.NewResponse(&longlinev1.GetLedgerResponse{
		Since:     timestamppb.Now(),
		Kinds:     []*longlinev1.KindLedger{{Kind: "devices", Received: r}},
		Received:  r,
		Published: new(longlinev1.PublisherLedger),
	}), nil
}

func (unbalanced) ListDeviceLedgers(_ context.Context, r *connect.Request[longlinev1.ListDeviceLedgersRequest]) (*connect.Response[longlinev1.ListDeviceLedgersResponse], error) {
	if !r.Msg.Unbalanced {
		return nil, connect.NewError(connect.CodeInvalidArgument, nil)
	}
	response := new(longlinev1.ListDeviceLedgersResponse)
	switch r.Msg.PageToken {
	case "":
		response.NextPageToken = "m5" // a page without a device
	case "m5":
		response.Ledgers = []*longlinev1.DeviceLedger{{Device: "m7", Received: &longlinev1.ReceiverLedger{Waiting: 1, Difference: -1}, Published: new(longlinev1.PublisherLedger)}}
	}
	return connect.NewResponse(response), nil
}

// Whoever runs it in a script learns from the exit code that messages are not accounted for.
func TestAuditFails(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle(longlinev1connect.NewGatewayHandler(unbalanced{}))
	server := httptest.NewServer(mux)
	defer server.Close()
	p := &program{t: t, admin: strings.TrimPrefix(server.URL, "http://")}
	wantLines(t, p.audit(exitFailed), "\n taken 3 3\n", "\n dropped: expired 1 1\n", "\n NOT EXPLAINED 1 1\n")
	wantLines(t, p.audit(exitFailed, "--unbalanced"), "m7, away", "\n NOT EXPLAINED -1\n")
	if got := p.audit(exitFailed, "--unbalanced", "--json"); !strings.HasPrefix(got, `{"device":`) || strings.Count(got, "\n") != 1 {
		t.Errorf("as JSON: %s", got)
	}
	if code, _, _ := longline(t, "audit", "--device", "a", "--unbalanced"); code != exitUsage {
		t.Errorf("one device and all that do not balance: exit code %d", code)
	}
}
