package gateway

import (
	"io"
	"strings"
	"testing"
)

// The device port lists the nodes for anyone who asks, as far as it is allowed to.
func TestNodesOnTheDevicePort(t *testing.T) {
	const list = `{"nodes":[{"url":"wss://a.test","weight":7}]}`
	nodes := func() []byte { return []byte(list) }
	w := newWorld(t, settings{gateway: Config{Nodes: true, NodeList: nodes}})
	question := func(w *world, line string) (header, body string) {
		t.Helper()
		c := w.dial()
		for _, part := range []string{line[:5], line[5:]} {
			if _, err := io.WriteString(c, part); err != nil {
				t.Fatal(err)
			}
		}
		all, err := io.ReadAll(c) // the connection ends
		if err != nil {
			t.Fatal(err)
		}
		header, body, _ = strings.Cut(string(all), "\r\n\r\n")
		return header, body
	}
	for ask, want := range map[string]string{
		"GET /v1/nodes HTTP/1.1\r\nHost: a\r\n\r\n":        list,
		"GET //v1/nodes/?a=b HTTP/1.1\r\nHost: a\r\n\r\n":  list,
		"GET http://a/v1/nodes HTTP/1.0\r\n\r\n":           list,
		"HEAD /v1/nodes HTTP/1.1\r\nHost: a\r\n\r\n":       "",
		"GET /v1/nodes HTTP/1.0\nUser-Agent: a script\n\n": list,
	} {
		header, body := question(w, ask)
		if !strings.HasPrefix(header, "HTTP/1.1 200 OK\r\n") || body != want {
			t.Errorf("%q: %s\n%s", ask, header, body)
		}
		for _, field := range []string{"Content-Type: application/json", "Cache-Control: max-age=5", "Content-Length: 45", "Connection: close"} {
			if !strings.Contains(header+"\r\n", "\r\n"+field+"\r\n") {
				t.Errorf("%q: %s is not in\n%s", ask, field, header)
			}
		}
	}
	for _, ask := range []string{"POST /v1/nodes HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/nodes/a HTTP/1.1\r\nHost: a\r\n\r\n"} {
		if header, body := question(w, ask); strings.Contains(header, "200") || strings.Contains(body, "a.test") {
			t.Errorf("%q: %s", ask, header)
		}
	}
	off := newWorld(t, settings{gateway: Config{NodeList: nodes}})
	if header, body := question(off, "GET /v1/nodes HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.HasPrefix(header, "HTTP/1.1 426 ") || strings.Contains(body, "a.test") {
		t.Errorf("not allowed: %s\n%s", header, body)
	}
}

// A URL for lists of nodes is one that a device can use.
func TestURLOfTheNode(t *testing.T) {
	for url, good := range map[string]bool{
		"wss://gw-1.example.com": true, "ws://10.0.0.5:8080/edge": true, "https://gw-1.example.com": false, "gw-1.example.com": false,
		"wss://": false, "wss://user@gw": false, "wss://gw?a": false, "wss://" + strings.Repeat("a", 251): false,
	} {
		err := Config{URL: url}.WithDefaults().Validate()
		if (err == nil) != good || err != nil && !strings.HasPrefix(err.Error(), "url: ") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
