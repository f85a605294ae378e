package service

import (
	"bufio"
	"bytes"
	"net/http"
	"testing"
)

// checkParsed checks that net/http reads an answer as parseAnswer does, if that takes it.
func checkParsed(t *testing.T, b []byte) (taken bool) {
	const most = 1000
	a, n, last := parseAnswer(b, most)
	if a == nil {
		return false
	}
	from := bufio.NewReaderSize(bytes.NewReader(b), len(b)+16)
	r, err := http.ReadResponse(from, &http.Request{Method: http.MethodPost})
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", b, err)
	}
	defer r.Body.Close()
	body, err := readBody(r, most)
	if err != nil {
		t.Fatalf("net/http refuses the body of %q: %v", b, err)
	}
	want := answerOf(r, body)
	if a.Status != want.Status || a.ContentType != want.ContentType || a.Encoding != want.Encoding || a.Code != want.Code || a.RetryAfter != want.RetryAfter || !bytes.Equal(a.Body, want.Body) {
		t.Errorf("%q is %+v, want %+v", b, a, want)
	}
	if rest := len(b) - n; last != r.Close || rest != from.Buffered() {
		t.Errorf("%q: last %t with %d bytes behind it, want %t and %d", b, last, rest, r.Close, from.Buffered())
	}
	return true
}

var parsed = []struct {
	text  string
	taken bool
}{
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true},
	{"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", true},
	{"HTTP/1.1 422 No\r\nServer: x\r\nDate: y\r\nContent-Type: text/plain\r\nLongline-Error: no_funds\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", true},
	{"HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Length:2 \r\nX-Y:\t\r\n\r\nokHTTP/1.1 200", true},
	{"HTTP/1.1 429 No\r\nretry-after: 120\r\nContent-Length: 0\r\n\r\n", true},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", false},
	{"HTTP/1.1 429 No\r\nRetry-After: 1\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n", false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + string(make([]byte, 1001)), false},
	{"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\nok", false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\r\n b\r\n\r\nok", false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX : a\r\n\r\nok", false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\x00\r\n\r\nok", false},
	{"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", false},
	{"HTTP/1.1 200 OK\r\n\r\nok", false},
	{"HTTP/1.1 200 OK\r\nConnection: close, x\r\nContent-Length: 2\r\n\r\nok", false},
	{"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
	{"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nok", false},
	{"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", false},
	{"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", false},
	{"\r\n", false},
	{"", false},
}

func TestParseAnswer(t *testing.T) {
	for _, c := range parsed {
		if taken := checkParsed(t, []byte(c.text)); taken != c.taken {
			t.Errorf("%q is taken: %t", c.text, taken)
		}
		for n := range c.text {
			checkParsed(t, []byte(c.text[:n]))
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	for _, c := range parsed {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkParsed(t, b) })
}
