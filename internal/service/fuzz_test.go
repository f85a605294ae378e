package service

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
)

// FuzzAnswer reads what an instance may send: however it is cut, the same comes of it, and never more than is allowed.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.0 503 No\r\nLongline-Error: a b\r\nContent-Type: application/json\r\n\r\n{\"code\":\"x\",\"reason\":\"\\u0000\"}",
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain; a=\"\x01\"\r\nContent-Length: 101\r\n\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		const most = 100
		p := &pool{config: Config{MaxAnswer: most}.WithDefaults()}
		var replies [2]*Reply
		for n, from := range []io.Reader{strings.NewReader(s), bytewise{strings.NewReader(s)}} {
			c := &conn{limit: limited{from: from}}
			c.from = bufio.NewReader(&c.limit)
			a, again, err := c.answer("POST", most)
			if err == nil && (len(a.Body) > most || again && c.from.Buffered() > 0) {
				t.Fatalf("%d bytes, again %v with %d bytes to come", len(a.Body), again, c.from.Buffered())
			}
			replies[n] = p.reply(a, err)
			if r := replies[n].Err; len(r.Reason) > mostReason || r.Code != "" && !ValidCode(r.Code) {
				t.Fatalf("%+v", r)
			}
		}
		if x, y := replies[0], replies[1]; !bytes.Equal(x.Payload, y.Payload) || x.Err != y.Err || x.ContentType != y.ContentType {
			t.Fatalf("%+v, and byte by byte %+v", x, y)
		}
	})
}

// bytewise reads one byte at a time.
type bytewise struct{ io.Reader }

func (b bytewise) Read(p []byte) (int, error) { return b.Reader.Read(p[:min(1, len(p))]) }
