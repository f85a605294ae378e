// Command peers has the echo servers that Longline is compared with: one for each
// WebSocket library, written as the library recommends.
//
// All do the same. They echo a text or binary message. For the binary message "B" they send a frame
// of 128 bytes to every connection. At SIGUSR1 they return free memory to the system.
package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// servers are functions that serve until their listener fails.
var servers = map[string]struct {
	module string
	serve  func(net.Listener) error
}{
	"gws":     {"github.com/lxzan/gws", serveGWS},
	"gorilla": {"github.com/gorilla/websocket", serveGorilla},
	"coder":   {"github.com/coder/websocket", serveCoder},
	"gobwas":  {"github.com/gobwas/ws", serveGobwas},
}

// announcement is the message of a broadcast.
var announcement = bytes.Repeat([]byte{'b'}, 128)

// isBroadcast reports whether a binary message asks for a broadcast.
func isBroadcast(p []byte) bool { return len(p) == 1 && p[0] == 'B' }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 && len(args) != 4 {
		return fmt.Errorf("usage: peers gws|gorilla|coder|gobwas ADDRESS:PORT [CERT KEY]")
	}
	server, ok := servers[args[0]]
	if !ok {
		return fmt.Errorf("there is no peer %q", args[0])
	}
	listener, err := net.Listen("tcp", args[1])
	if err != nil {
		return err
	}
	where := listener.Addr()
	if len(args) == 4 {
		cert, err := tls.LoadX509KeyPair(args[2], args[3])
		if err != nil {
			return err
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	free := make(chan os.Signal, 1)
	signal.Notify(free, syscall.SIGUSR1)
	go func() {
		for range free {
			debug.FreeOSMemory()
		}
	}()
	fmt.Printf("%s %s on %v\n", args[0], version(server.module), where)
	return server.serve(listener)
}

// version returns the version of a module in this binary.
func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version
		}
	}
	return "of an unknown version"
}
