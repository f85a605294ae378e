package service

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/setting"
)

// BenchmarkCalls makes calls of devices, 64 at a time, to an instance in the same process that answers as nginx does. Its part is
// the same whatever is measured.
func BenchmarkCalls(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	body := `{"ok":"` + strings.Repeat("0", 88) + `"}`
	answer := "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 27 Nov 2026 17:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 97\r\nConnection: keep-alive\r\n\r\n" + body
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				room := make([]byte, 4096)
				for {
					if _, err := c.Read(room); err != nil {
						return
					}
					if _, err := io.WriteString(c, answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	s := openSet(b, setting.Named[Config]{"billing": {Source: registry.Source{Instances: []string{"http://" + l.Addr().String()}}}})
	free := make(chan struct{}, 64)
	for range cap(free) {
		free <- struct{}{}
	}
	b.ReportAllocs()
	done := func(r *Reply) {
		if r.Err.Code != "" || string(r.Payload) != body {
			b.Errorf("%+v", r)
		}
		free <- struct{}{}
	}
	payload := []byte(`{"tag":"` + strings.Repeat("0", 88) + `"}`)
	before := cpu()
	for b.Loop() {
		<-free
		s.Begin("billing", &Call{Device: "m-7", Method: "authorize", Payload: payload, ContentType: "application/json"}, 0, done)
	}
	for range cap(free) {
		<-free
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}

// cpu returns the processor time of this process, in nanoseconds.
func cpu() int64 {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // it does not fail
	return r.Utime.Nano() + r.Stime.Nano()
}
