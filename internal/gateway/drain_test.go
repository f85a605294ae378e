package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/wire/mqtt"
)

// Devices are sent away at the rate, each with a delay of its own, and nobody is let in.
func TestDrain(t *testing.T) {
	const devices, rate = 30, 100
	w := newWorld(t, settings{gateway: Config{DrainRate: rate, DrainSpread: 1000 * time.Second}})
	var peers []*peer
	for i := range devices {
		peers = append(peers, w.greeted("/connect/d"+strconv.Itoa(i)))
	}
	shaking := w.dial()
	if !w.gateway.Ready() {
		t.Error("not ready before")
	}
	start := time.Now()
	drained := make(chan error, 2)
	for range cap(drained) { // a second call joins in
		go func() { drained <- w.gateway.Drain(t.Context()) }()
	}
	reason := regexp.MustCompile(`^the gateway restarts; retry after (\d+)s$`)
	delays := map[string]bool{}
	for _, p := range peers {
		e := p.closed()
		m := reason.FindStringSubmatch(e.Reason)
		if e.Code != 1012 || m == nil {
			t.Fatalf("closed with %d %q", e.Code, e.Reason)
		}
		delays[m[1]] = true
	}
	if len(delays) < devices/2 {
		t.Errorf("%d devices have only %d delays", devices, len(delays))
	}
	if got := ask(t, shaking, upgrade("/connect/late")); got.status != 503 {
		t.Errorf("who was shaking hands got %d", got.status)
	}
	for range cap(drained) {
		if err := <-drained; err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(start); took < devices*time.Second/rate/4 {
		t.Errorf("drained within %v", took)
	}
	late := w.connect("/connect/late")
	if late.status != "503 The gateway is being drained." || late.header.Get("Retry-After") == "" {
		t.Errorf("afterwards: %s, Retry-After %q", late.status, late.header.Get("Retry-After"))
	}
	if _, online := w.sessions.Count(); online != 0 || w.gateway.Ready() {
		t.Errorf("%d sessions on line, ready %v", online, w.gateway.Ready())
	}
}

// A device that does not answer the close frame cannot hold Drain longer than its context.
func TestDrainGivesUp(t *testing.T) {
	w := newWorld(t, settings{})
	w.rawDevice("stubborn")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := w.gateway.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want a deadline exceeded", err)
	}
	if gone := w.awaitPresence("stubborn", false); gone.Reason != "restart" {
		t.Errorf("offline because of %q", gone.Reason)
	}
}

// A gateway that ends at once still says goodbye.
func TestCloseSaysGoodbye(t *testing.T) {
	w := newWorld(t, settings{})
	p := w.greeted("/connect/d")
	closed := make(chan struct{})
	go func() { w.gateway.Close(); close(closed) }()
	if e := p.closed(); e.Code != 1001 {
		t.Errorf("closed with %d %q", e.Code, e.Reason)
	}
	<-closed
}

// Many calls to drain are no faster than one.
func TestDrainTogether(t *testing.T) {
	const devices, rate = 20, 20
	w := newWorld(t, settings{gateway: Config{DrainRate: rate, Loops: 1}})
	for i := range devices {
		w.greeted("/connect/d" + strconv.Itoa(i))
	}
	start := time.Now()
	var draining sync.WaitGroup
	for range 5 {
		draining.Go(func() {
			if err := w.gateway.Drain(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	draining.Wait()
	if took := time.Since(start); took < devices*time.Second/rate/2 {
		t.Errorf("drained within %v", took)
	}
}

// Who gives up waiting for a drain does not end it.
func TestDrainGoesOn(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{DrainRate: 20, Loops: 1}})
	var peers []*peer
	for i := range 10 {
		peers = append(peers, w.greeted("/connect/d"+strconv.Itoa(i)))
	}
	hasty, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.gateway.Drain(hasty); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
	for _, p := range peers {
		if e := p.closed(); e.Code != 1012 {
			t.Errorf("closed with %d %q", e.Code, e.Reason)
		}
	}
}

// A device that is being verified when the drain begins is not let in.
func TestDrainRefusesWhoIsVerified(t *testing.T) {
	asked, leave := make(chan struct{}), make(chan struct{})
	hook := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		question, _ := io.ReadAll(r.Body)
		if strings.Contains(string(question), "late") {
			asked <- struct{}{}
			<-leave
		}
		_, _ = io.WriteString(rw, "{}") // nobody waits for it at the end of the test
	}))
	t.Cleanup(hook.Close)
	w := &mqttWorld{newGuarded(t, auth.Config{Order: []string{"webhook"}, Webhook: auth.Webhook{URL: hook.URL}},
		settings{gateway: Config{Loops: 1, DrainRate: 1, MQTT: MQTT{Listen: "127.0.0.1:0"}}}), fives[0]}
	connect := func(device string) *mqttPeer {
		p, opening := w.dial(), opening(device)
		opening.Connect.HasPassword, opening.Connect.Password = true, []byte("x")
		p.say(opening)
		return p
	}
	for i := range 5 { // the drain is busy with them
		if got := connect("d" + strconv.Itoa(i)).take(mqtt.Connack); got.Reason != mqtt.Success {
			t.Fatal(show(got))
		}
	}
	late := connect("late")
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan struct{})
	go func() { defer close(drained); _ = w.gateway.Drain(ctx) }()
	w.await("the first to go", func() bool { return w.metric("longline_closes_total/restart") > 0 })
	close(leave)
	if got := late.take(mqtt.Connack); got.Reason != mqtt.ServerUnavailable {
		t.Errorf("CONNACK %s", show(got))
	}
	cancel()
	<-drained
}
