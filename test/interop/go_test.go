package interop

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	sdk "github.com/longline/longline/device"
)

// startGo runs a device of the SDK behind a proxy that can be cut.
func startGo(ctx context.Context, t *testing.T, id string) *device {
	t.Helper()
	p := newProxy(t, gateway.devices)
	greetings := make(chan bool, buffered)
	commands := make(chan command, buffered)
	left := make(chan error, 1)
	var d *sdk.Device
	d, err := sdk.Dial(ctx, target(p.addr(), id), &sdk.Options{
		Reconnect: sdk.Reconnect{Min: time.Millisecond, Max: 10 * time.Millisecond, MaxTries: -1},
		OnState: func(s sdk.State) {
			if s.Phase == sdk.Connected {
				greetings <- s.Resumed
			}
		},
		Calls: map[string]sdk.CallHandler{
			"sum":   sum,
			"leave": func(context.Context, sdk.Call) (any, error) { go func() { left <- d.Close(ctx) }(); return "bye", nil },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	err = d.Subscribe(ctx, "command/"+id+"/#", sdk.AtLeastOnce, func(_ context.Context, m sdk.Message) {
		var c command
		if err := json.Unmarshal(m.Payload, &c.Payload); err != nil {
			t.Errorf("%q: %v", m.Payload, err)
		}
		if c.Payload.Cut && !seen[c.Payload.N] {
			p.cut()
		}
		seen[c.Payload.N] = true
		commands <- c
	})
	if err != nil {
		t.Fatal(err)
	}
	publish(ctx, t, d, "reading/"+id)
	ready := make(chan struct{})
	close(ready)
	return &device{greetings, ready, commands, p.mend, left}
}

func publish(ctx context.Context, t *testing.T, d *sdk.Device, topic string) {
	t.Helper()
	if err := d.Publish(ctx, sdk.Message{Topic: topic, Payload: []byte(`{"celsius": 20.5}`), ContentType: sdk.ContentJSON}); err != nil {
		t.Fatal(err)
	}
	if err := d.PublishJSON(ctx, topic, map[string]float64{"celsius": 21}); err != nil {
		t.Fatal(err)
	}
}

func sum(_ context.Context, c sdk.Call) (any, error) {
	var numbers []int
	if err := json.Unmarshal(c.Payload, &numbers); err != nil {
		return nil, err
	}
	total := 0
	for _, n := range numbers {
		total += n
	}
	return total, nil
}
