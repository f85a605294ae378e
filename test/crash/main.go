// Command crash kills a gateway again and again while devices use it, fills its disk and cuts connections, and reports whether what was
// acknowledged has arrived.
//
// It starts longline serve with a store on a small disk of its own, and a fleet: devices of the SDK (JSON), of MQTT 3.1.1 and 5, and a backend. They
// publish with QoS 1 and 2, to each other, to a shared subscription, retained, and by wills; subscriptions come and go. Meanwhile the gateway is
// killed with SIGKILL at random moments, also while it starts, and started again. At the end all are connected, and the command compares what
// the clients know: every acknowledged message is at every receiver that had subscribed, in order per topic; the last
// acknowledged retained message is there; no session is gone; a will came for each connection that was cut.
//
// A part of the messages is in a stream, which two backends read, and which sinks write to a Kafka, a Mosquitto and a PostgreSQL. These are killed and started again
// as well. At the end each acknowledged message of the stream is in all three, and those of one device came there in order, apart from repetitions.
//
// Who acts when follows from the seed; in which moment of its work the gateway is hit does not.
//
// SIGKILL does not test syncs: the kernel keeps what was written. The journal's tests have a disk that forgets what was
// not synced, at every step of a history: internal/journal/journaltest.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	o := &options{}
	kong.Parse(o, kong.Name("crash"), kong.Description("Kill a gateway again and again, and count what is lost."))
	if !o.NoFill {
		if err := enterNamespace(); err != nil {
			fmt.Fprintln(os.Stderr, "crash:", err)
			os.Exit(1)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := o.Run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}
