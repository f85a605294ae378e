package redisconn

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/reload"
)

// bounds are a sink's.
var bounds = Bounds{Text: 1 << 20, Answer: 16 << 20}

func TestGuard(t *testing.T) {
	for text, want := range map[string]string{
		"+OK\r\n*3\r\n$1\r\na\r\n:5\r\n*1\r\n$-1\r\n+OK\r\n":                        "",
		"%1\r\n+a\r\n*2\r\n_\r\n#t\r\n>1\r\n$3\r\n\r\n*\r\n-ERR x\r\n*0\r\n*-1\r\n": "",
		"HTTP/1.1 400 Bad Request\r\n":                                              "no Redis",
		"$99999999999999999\r\n":                                                    "announces",
		"$-2\r\n":                                                                   "announces",
		"$?\r\n":                                                                    "no Redis",
		"*1000000000\r\n":                                                           "announces",
		strings.Repeat("*2\r\n+a\r\n", 9):                                           "lists within lists",
		"+" + strings.Repeat("a", mostLine):                                         "no Redis",
		"*100\r\n" + strings.Repeat("$1048576\r\n"+strings.Repeat("a", 1<<20)+"\r\n", 17): "more than",
	} {
		for _, size := range []int{1 << 30, 7, 1} { // of a piece
			g, err := &guard{most: bounds}, error(nil)
			for rest := []byte(text); len(rest) > 0 && err == nil; {
				n := min(size, len(rest))
				err, rest = g.see(rest[:n]), rest[n:]
			}
			switch {
			case want == "" && (err != nil || len(g.open) > 0 || g.skip > 0):
				t.Errorf("%.40q: %v, %d open", text, err, len(g.open))
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
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
			_, _ = c.Read(make([]byte, 100))
			_, _ = c.Write([]byte("$999999999999999999\r\n"))
			_ = c.Close()
		}
	}()
	c := Config{Addresses: []string{l.Addr().String()}, Timeout: 5 * time.Second}.WithDefaults()
	dial, err := c.Dialer(new(reload.Watcher), bounds)
	if err != nil {
		t.Fatal(err)
	}
	if client, err := dial(context.Background()); err == nil {
		client.Close()
		t.Error("it is connected")
	}
}
