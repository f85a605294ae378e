// Package device is the Go SDK for devices. It keeps a connection to the gateway, reconnects by itself,
// publishes, subscribes, answers calls and calls services.
//
//	d, err := device.Dial(ctx, "wss://gateway.example:8080", &device.Options{ID: "meter-7", Token: token})
//	...
//	d.HandleCall("reboot", reboot)
//	err = d.Subscribe(ctx, "meters/7/settings", device.AtLeastOnce, apply)
//	err = d.PublishJSON(ctx, "meters/7/reading", reading)
//	reply, err := d.Call(ctx, "billing", "authorize", card)
//	...
//	err = d.Close(ctx)
//
// Publications go through a bounded outbox, in order. While there is no connection they wait there.
// A message of QoS 1 stays in the outbox until the gateway has
// acknowledged it, and is sent again on each new connection: it arrives at least once, perhaps
// twice. A message of QoS 0 leaves the outbox when it is written: it arrives at most once.
//
// The session at the gateway outlives the connection: it keeps the subscriptions and the
// unacknowledged messages of QoS 1. If the gateway has lost the session, the device subscribes
// again.
package device
