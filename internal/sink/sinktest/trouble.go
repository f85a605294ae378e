package sinktest

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/stream"
)

func everythingArrives(t *testing.T, w *world) {
	o := w.begin(t)
	o.publishAll()
	o.drained()
	o.check(false, 0)
}

// through publishes everything while trouble is made in some rounds, then waits until all is there.
func (o *one) through(rounds int, trouble func(round int)) {
	o.t.Helper()
	published := make(chan struct{})
	go func() {
		defer close(published)
		o.publishAll()
	}()
	for round := range rounds {
		time.Sleep(time.Duration(rand.Int64N(int64(400 * time.Millisecond)))) //nolint:gosec // trouble at any moment
		trouble(round)
	}
	<-published
	o.drained()
}

func gatewayRestarts(t *testing.T, w *world) {
	o := w.begin(t)
	o.through(o.form.rounds, func(round int) {
		o.stop(time.Duration(round%2) * 10 * time.Second)
		o.start()
	})
	o.stop(10 * time.Second)
	o.start()
	o.drained()
	o.check(true, 0)
}

func connectionsAreCut(t *testing.T, w *world) {
	o := w.begin(t)
	o.through(o.form.rounds, func(round int) {
		if round%2 == 0 {
			w.proxy.Cut()
			return
		}
		w.proxy.Silence() // something is under way then
		time.Sleep(20 * time.Millisecond)
		w.proxy.Cut()
		w.proxy.Go()
	})
	o.check(true, 0)
}

// The other side is silent for longer than the target's timeout.
func silence(t *testing.T, w *world) {
	o := w.begin(t)
	o.through(1, func(int) {
		w.proxy.Silence()
		o.until("it fails", func(s pump.Stats) bool { return s.State == pump.Failing })
		w.proxy.Go()
		w.proxy.Cut()
	})
	o.check(true, 0)
}

func serverIsKilled(t *testing.T, w *world) {
	o := w.begin(t)
	o.through(o.form.kills, func(int) {
		w.server.Kill(w.t)
		w.proxy.To("")
		w.proxy.Cut()
		if rand.IntN(2) == 0 { //nolint:gosec // both at once, now and then
			o.stop(0)
			o.start()
		}
		w.proxy.To(w.server.Start(w.t, w.proxy.Address()))
	})
	o.check(true, 0)
}

// What is refused is a dead letter, and what comes behind it arrives.
func badMessage(t *testing.T, w *world) {
	o := w.begin(t)
	for n := range 100 {
		if n == 50 {
			o.publishPayload(0, w.server.Bad, func(error) {})
		}
		o.publish(n%devices, func(error) {})
	}
	o.until("one message is refused", func(s pump.Stats) bool { return s.Dead == 1 })
	o.drained()
	o.check(true, 1)
	r, err := o.gateway.Streams.Get(pump.LettersStream).Open("", stream.First)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	letters, _, err := r.Take(t.Context(), 10, 1<<20, nil)
	if err != nil || len(letters) != 1 || string(letters[0].Message.Payload) != string(w.server.Bad) {
		t.Fatalf("%v, %+v", err, letters)
	}
	t.Logf("refused: %v", letters[0].Message.Properties)
}
