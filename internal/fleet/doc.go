// Package fleet runs many devices in one process, on the client side of the event loops: to
// try a gateway, to size a machine, and to replay what real devices have sent.
//
// Run spreads the devices over the loops. Each loop has a lane, which dials its
// clients at a bounded rate, reconnects those that lost their connection, and counts. A
// Client is one device: it upgrades, waits for hello, publishes the messages of its outbox within a
// window, acknowledges, answers calls, and closes the connection to a silent gateway. The load
// comes from outside of the loops: ticks for a synthetic load (Synthetic), batches of rows for
// a recording (Replay).
//
// No goroutine, timer or buffer belongs to a device. An idle one is a Client of 96 bytes
// and its reactor.Conn.
package fleet
