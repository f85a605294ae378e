package api

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Server serves an API on the admin port: HTTP/1.1 and HTTP/2, with or without TLS.
type Server struct {
	api      *API
	listener net.Listener
	server   *http.Server
}

// Listen opens the port at Config.Address.
func Listen(ctx context.Context, a *API) (*Server, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.config.Address)
	if err != nil {
		return nil, err
	}
	return &Server{a, l, newServer(a)}, nil
}

// bodyTimeout is how long the body of a request, at most maxBody, may take to arrive.
const bodyTimeout = 30 * time.Second

func newServer(a *API) *http.Server {
	s := &http.Server{
		Handler:           limitBodyTime(a.Handler(), bodyTimeout),
		Protocols:         new(http.Protocols),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ConnContext:       a.conns.join,
		ConnState:         a.conns.change,
		MaxHeaderBytes:    64 << 10,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 1000,
			SendPingTimeout:      15 * time.Second, // detects clients that vanished
			PingTimeout:          15 * time.Second,
		},
		ErrorLog: slog.NewLogLogger(a.node.Log.Handler(), slog.LevelWarn),
	}
	s.Protocols.SetHTTP1(true)
	if a.node.Certificate == nil {
		s.Protocols.SetUnencryptedHTTP2(true)
		return s
	}
	s.Protocols.SetHTTP2(true)
	s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: a.node.Certificate}
	return s
}

// Addr returns the address of the port.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers requests until Shutdown, and then returns nil.
func (s *Server) Serve() error {
	serve := s.server.Serve
	if s.server.TLSConfig != nil {
		serve = func(l net.Listener) error { return s.server.ServeTLS(l, "", "") }
	}
	if err := serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown ends the streams and waits for the other requests. When ctx ends first, their
// connections are closed and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.api.Close()
	err := s.server.Shutdown(ctx)
	if err != nil {
		_ = s.server.Close() // the error to return is ctx's
	}
	return err
}
