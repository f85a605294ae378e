// Package servers installs real servers and starts them, for tests and for programs that measure: registries, brokers, later stores. A
// server has free ports and files of its own, and ends with its test. It can be killed and restarted, or stopped so that it answers
// nothing.
package servers

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Server is a server of a test, whose errors are the test's. Its methods are for the test's goroutine.
type Server struct {
	*Process
	t testing.TB
}

// Start installs a server if need be, starts it and waits until it is ready. It is killed at the end of the test.
func Start(t testing.TB, p Program) *Server {
	t.Helper()
	s, err := Launch(t.Context(), p, t.TempDir())
	if s == nil {
		t.Fatal(err)
	}
	return started(t, []*Process{s}, err)[0]
}

// started makes servers, some of which may have ended, those of a test.
func started(t testing.TB, all []*Process, err error) []*Server {
	t.Helper()
	var servers []*Server
	for _, s := range all {
		t.Cleanup(func() {
			s.Kill()
			if t.Failed() {
				t.Logf("the end of the log of %s:\n%s", s.program.Name, s.log())
			}
		})
		servers = append(servers, &Server{s, t})
	}
	if err != nil {
		t.Fatal(err)
	}
	return servers
}

// Restart is Process.Restart.
func (s *Server) Restart() {
	s.t.Helper()
	s.must(s.Process.Restart(s.t.Context()))
}

// Stop is Process.Stop.
func (s *Server) Stop() {
	s.t.Helper()
	s.must(s.Process.Stop())
}

// Continue is Process.Continue.
func (s *Server) Continue() {
	s.t.Helper()
	s.must(s.Process.Continue())
}

func (s *Server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// Answers is a Ready: the server answers path with a status below 300, and with want in the first bytes.
func Answers(path, want string) func(ctx context.Context, port int) error {
	return func(ctx context.Context, port int) error {
		return answers(ctx, http.DefaultClient, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil, want)
	}
}

func answers(ctx context.Context, client *http.Client, url string, header http.Header, want string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	request.Close = true
	for key, values := range header {
		request.Header[key] = values
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err == nil && (response.StatusCode >= 300 || !strings.Contains(string(text), want)) {
		err = fmt.Errorf("it answers %d %s", response.StatusCode, text)
	}
	return err
}
