package api

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// A client that sends a header and never the body does not keep its connection for ever: its token has not
// been checked yet.
func TestSlowBodyIsCutOff(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	s := httptest.NewServer(limitBodyTime(w.api.Handler(), 50*time.Millisecond))
	defer s.Close()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "POST /longline.v1.Gateway/Drain HTTP/1.1\r\nHost: named.example\r\nContent-Length: 10\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("it was not closed: %v", err)
	}
}

// A stream outlives the timeout of its request's body.
func TestStreamOutlivesItsBody(t *testing.T) {
	const limit = 50 * time.Millisecond
	w := newWorld(t, Config{}, router.Config{})
	s := httptest.NewUnstartedServer(limitBodyTime(w.api.Handler(), limit))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	w.url = s.URL
	for _, protocol := range []string{"grpc", "grpc-web", "json"} {
		ctx, cancel := context.WithCancel(t.Context())
		c, err := w.client(protocol).Subscribe(ctx, connect.NewRequest(&longlinev1.SubscribeRequest{Filters: []string{"t"}, Qos: 1}))
		if err != nil || !c.Receive() {
			t.Fatal(protocol, err)
		}
		time.Sleep(2 * limit) // this must not end the stream
		if got, err := w.router.Publish(&message.Message{Topic: "t", QoS: 1}, nil); got.Receivers != 1 || err != nil {
			t.Errorf("%s: %+v, %v", protocol, got, err)
		}
		receive(t, c, 1)
		cancel()
		_ = c.Close()
		w.ended(t, longlinev1connect.GatewaySubscribeProcedure)
	}
	w.h1.CloseIdleConnections()
	w.h2.CloseIdleConnections()
}
