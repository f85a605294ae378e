package websocket

import "testing"

// Reading and writing the usual messages does not allocate.
func TestNoAllocations(t *testing.T) {
	var (
		r       Reader
		req     Request
		payload = telemetry(128)
		dst     = make([]byte, 0, 1024)
		request = []byte(browserRequest)
		text    = AppendMaskedFrame(nil, Text, payload, 0)
		ping    = AppendMaskedFrame(nil, Ping, []byte("p"), 0)
		closing = AppendMaskedClose(nil, CodeNormal, "bye", 0)
	)
	r.Init(&Config{}, true)
	if n, err := ParseRequest(request, &req, Limits{}); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	next := func(p []byte, op Opcode) func() {
		return func() {
			if _, ev, err := r.Next(p); ev.Op != op || err != nil {
				t.Fatal(ev.Op, err)
			}
		}
	}
	for name, run := range map[string]func(){
		"message":           next(text, Text),
		"ping":              next(ping, Ping),
		"close":             next(closing, Close),
		"half a header":     next(text[:5], 0),
		"AppendHeader":      func() { dst = AppendHeader(dst[:0], Text, 70000) },
		"AppendFrame":       func() { dst = AppendFrame(dst[:0], Text, payload) },
		"AppendMaskedFrame": func() { dst = AppendMaskedFrame(dst[:0], Text, payload, NewKey()) },
		"AppendClose":       func() { dst = AppendClose(dst[:0], CodeNormal, "bye") },
		"ParseRequest": func() {
			if n, err := ParseRequest(request, &req, Limits{}); n == 0 || err != nil {
				t.Fatal(n, err)
			}
		},
		"Request.Header": func() {
			if req.Header("user-agent") == nil {
				t.Fatal("no User-Agent")
			}
		},
		"Request.Protocols": func() {
			n := 0
			for range req.Protocols {
				n++
			}
			if n != 2 {
				t.Fatal(n)
			}
		},
		"AppendUpgrade":   func() { dst = AppendUpgrade(dst[:0], &req, "mqtt", true, Field{"X-Node", "n1"}) },
		"AppendHTTPError": func() { dst = AppendHTTPError(dst[:0], errNotUpgrade) },
	} {
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestAppendClose(t *testing.T) {
	euros := ""
	for range 50 {
		euros += "€"
	}
	for _, c := range []struct {
		code         uint16
		reason, want string
	}{
		{1000, "bye", "\x88\x05\x03\xe8bye"},
		{0, "ignored", "\x88\x00"},
		{CodeNoStatus, "", "\x88\x00"},
		{1001, euros, "\x88\x7d\x03\xe9" + euros[:123]},
		{1001, "a" + euros, "\x88\x7b\x03\xe9a" + euros[:120]},
	} {
		if got := string(AppendClose(nil, c.code, c.reason)); got != c.want {
			t.Errorf("%d %q: %x, want %x", c.code, c.reason, got, c.want)
		}
	}
}
