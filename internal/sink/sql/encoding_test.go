package sql

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/pump"
)

// Texts are UTF-8, and a server whose database has another encoding by default is told so: it would take them for something else.
func TestEncodingIsSaid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hello := make(chan []byte, 1)
	go func() {
		defer close(hello)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(size[:])-4)
		if _, err := io.ReadFull(c, body); err == nil {
			hello <- body
		}
	}()
	c := Postgres{Config{Addresses: []string{l.Addr().String()}, Database: "d", User: "u", Password: setting.NewSecret("p"), Table: "t", Timeout: 20 * time.Second}}
	target, err := OpenPostgres(c.WithDefaults(), pump.Options{Name: "main", Watcher: new(reload.Watcher), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if _, err := target.Send(t.Context(), []*pump.Record{{}}); err == nil {
		t.Error("it is sent")
	}
	if !bytes.Contains(<-hello, []byte("client_encoding\x00UTF8\x00")) {
		t.Error("the encoding is not said")
	}
}
