package servers

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// NATS starts a NATS of one server with JetStream, with these options of its command line. Its streams are in files, so they
// are there again when it is restarted.
func NATS(t testing.TB, options ...string) *Server {
	t.Helper()
	return Start(t, Program{
		Name:  "nats",
		Ports: []int{0},
		Command: func(installed string, port int) []string {
			return append([]string{installed + "/nats-server", "-a", "127.0.0.1", "-p", strconv.Itoa(port), "-js", "-sd", "jetstream"}, options...)
		},
		Ready: func(ctx context.Context, port int) error {
			line, err := firstLine(ctx, port, "")
			if err == nil && !strings.Contains(line, `"jetstream":true`) {
				err = fmt.Errorf("it says %s", line)
			}
			return err
		},
	})
}
