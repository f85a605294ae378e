// Package device is the device side of Longline: one connection to the gateway that
// comes back by itself, and what a device does over it.
//
//	d, err := device.Dial(ctx, "wss://gateway.example:8080", &device.Options{ID: "meter-7", Token: token})
//	...
//	d.HandleCall("reboot", reboot)
//	err = d.Subscribe(ctx, "meters/7/settings", device.AtLeastOnce, apply)
//	err = d.PublishJSON(ctx, "meters/7/reading", reading)
//	...
//	err = d.Close(ctx)
//
// What is published while the gateway is away waits in a bounded outbox, in order, and is
// sent when the connection is back. A message of QoS 1 stays there until the gateway has
// acknowledged it and is sent again on each new connection: at least once, so that it may
// come twice. A message of QoS 0 leaves it when it is written: at most once.
//
// The session at the gateway outlives the connection: it keeps the subscriptions and the
// unacknowledged messages of QoS 1. Where it did not survive, the subscriptions are made
// again.
package device
