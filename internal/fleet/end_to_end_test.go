package fleet

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
)

// backend is a subscriber with room for every message.
type backend struct {
	mu  sync.Mutex
	got map[string][]string // payloads by topic, in order
}

func (b *backend) Deliver(m *message.Message, _ message.QoS, _ *router.Publication) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got[m.Topic] = append(b.got[m.Topic], string(m.Payload))
	return nil
}

// realGateway runs a real gateway, with a backend that is subscribed to a filter.
func realGateway(t *testing.T, config gateway.Config, filter string) (*gateway.Gateway, *backend) {
	t.Helper()
	memory := store.NewMemory(store.Options{})
	r := router.New(router.Config{}, memory)
	sessions, err := session.NewManager(session.Config{}, r, memory, memory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sessions.Close)
	config.Listen, config.Insecure = "127.0.0.1:0", true
	g, err := gateway.Start(config, r, sessions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	b := &backend{got: make(map[string][]string)}
	r.Subscribe(filter, b, message.AtLeastOnce)
	return g, b
}

// A recording arrives at a real gateway complete, in order and byte for byte.
func TestReplayThroughGateway(t *testing.T) {
	for _, protocol := range []string{"json", "protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			g, b := realGateway(t, gateway.Config{}, "device/+/telemetry")

			const rows = 2000
			devices := []string{"a", "b", "c"}
			report, err := Run(t.Context(), Config{
				Gateway:  "ws://" + g.Addr().String(),
				Protocol: protocol,
				Replay:   record(t, rows, devices...),
			}, nil)
			if err != nil || report.Acknowledged != rows || report.Reconnects != 0 || !report.Complete() {
				t.Errorf("%v, report: %+v", err, report)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			for i, device := range devices {
				got := b.got["device/"+device+"/telemetry"]
				if want := recorded(rows, i, len(devices), device); !slices.Equal(got, want) {
					t.Errorf("%s: %d rows, want %d in order:\n%.300s", device, len(got), len(want), strings.Join(got, "\n"))
				}
			}
		})
	}
}
