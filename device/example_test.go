package device_test

import (
	"context"
	"fmt"
	"time"

	"github.com/longline/longline/device"
)

func ExampleDial() {
	url, stop := loopback()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	d, err := device.Dial(ctx, url, &device.Options{
		ID:        "meter-7",
		Token:     "secret",
		Reconnect: device.Reconnect{MaxTries: -1},
		OnState:   func(s device.State) { fmt.Println(s.Phase) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := d.PublishJSON(ctx, "meters/7/energy", map[string]float64{"kwh": 18.25}); err != nil {
		fmt.Println(err)
	}
	if err := d.Close(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// connecting
	// connected
	// closed
}

func ExampleDevice_Subscribe() {
	url, stop := loopback()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	d, err := device.Dial(ctx, url, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close(ctx)

	applied := make(chan struct{})
	err = d.Subscribe(ctx, "meters/7/#", device.AtLeastOnce, func(_ context.Context, m device.Message) {
		fmt.Printf("%s: %s\n", m.Topic, m.Payload)
		close(applied)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := d.PublishJSON(ctx, "meters/7/limit", 16); err != nil {
		fmt.Println(err)
	}
	<-applied
	// Output: meters/7/limit: 16
}

func ExampleDevice_HandleCall() {
	url, stop := loopback()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	answered := make(chan struct{})
	status := func(_ context.Context, c device.Call) (any, error) {
		defer close(answered)
		fmt.Println("called:", c.Method)
		return map[string]string{"state": "charging"}, nil
	}
	// A handler that Options have is in place before the first call can arrive.
	d, err := device.Dial(ctx, url, &device.Options{Calls: map[string]device.CallHandler{"status": status}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close(ctx)

	d.HandleCall("reboot", func(context.Context, device.Call) (any, error) {
		return nil, &device.RefusedError{Code: "busy", Reason: "a transaction is under way"}
	})
	<-answered
	// Output: called: status
}
