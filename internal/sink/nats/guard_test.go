package nats

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/sink/pump"
)

func TestGuard(t *testing.T) {
	for text, want := range map[string]error{
		"INFO {}\r\nPING\r\nMSG a 1 5\r\nMSG \n\r\nHMSG a 1 b 3 4\r\n\r\nMS\r\n+OK\r\n": nil,
		"INFO {}\r\n\x16\x03MSG a 1 9999999999999999999\r\n":                            nil,
		"MSG a 1 0\r\n\r\nMSG a 1 99999999\r\n":                                         errNotNATS,
		"hmsg a 1 b 3 9999999999999999999\r\n":                                          errNotNATS,
		"INFO " + strings.Repeat("a", mostLine):                                         errNotNATS,
	} {
		for _, size := range []int{1 << 30, 7, 1} { // of a piece
			g, err := new(guard), error(nil)
			for rest := []byte(text); len(rest) > 0 && err == nil; {
				n := min(size, len(rest))
				err, rest = g.see(rest[:n]), rest[n:]
			}
			if err != want || err == nil && g.skip > 0 { //nolint:errorlint // see wraps none
				t.Errorf("%.40q: %v", text, err)
			}
		}
	}
}

// A server that announces more than there is memory for is left, and the process goes on.
func TestHostileServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = c.Write([]byte(`INFO {"server_id":"x","version":"2.12.0","proto":1,"headers":true,"max_payload":1048576,"jetstream":true}` + "\r\n"))
				for r := bufio.NewScanner(c); r.Scan(); {
					if strings.HasPrefix(r.Text(), "PING") {
						_, _ = c.Write([]byte("PONG\r\n"))
					}
					if strings.HasPrefix(r.Text(), "SUB") {
						_, _ = c.Write([]byte("MSG x 1 999999999999999999\r\nab"))
					}
				}
			}()
		}
	}()
	c := Config{Servers: []string{"nats://" + l.Addr().String()}, Subject: "s", Timeout: 5 * time.Second}.WithDefaults()
	target, err := Open(c, pump.Options{Name: "main", Lanes: 1, Watcher: new(reload.Watcher)})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if done, err := target.Send(t.Context(), []*pump.Record{{To: "s", Value: []byte("x")}}); done != 0 || err == nil {
		t.Errorf("%d are confirmed: %v", done, err)
	}
}
