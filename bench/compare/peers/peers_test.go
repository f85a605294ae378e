package main

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/longline/longline/internal/bench"
)

// Every peer echoes, and broadcasts to all connections.
func TestPeers(t *testing.T) {
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- server.serve(l) }()
			target := bench.Target{Addr: netip.MustParseAddrPort(l.Addr().String())}
			c, err := bench.Connect(t.Context(), target, 20)
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{bench.MinSize, 128, 20_000} {
				if r, err := c.Echo(t.Context(), bench.Load{Size: size, Duration: 20 * time.Millisecond}); err != nil {
					t.Fatalf("echo of %d bytes: %d messages, %v", size, r.Messages, err)
				}
			}
			if r, err := c.Broadcast(t.Context(), 3); err != nil || r.Messages != 60 {
				t.Errorf("broadcast: %d deliveries, %v", r.Messages, err)
			}
			c.Close()
			_ = l.Close()
			if err := <-done; err == nil {
				t.Error("the server ended without its listener's error")
			}
		})
	}
}

func TestRunWantsAPeer(t *testing.T) {
	for _, args := range [][]string{nil, {"gws"}, {"nonsense", "127.0.0.1:0"}, {"gws", "nonsense"}} {
		if err := run(args); err == nil {
			t.Errorf("run(%q) succeeded", args)
		}
	}
}
