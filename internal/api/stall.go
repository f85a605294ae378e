package api

import (
	"net/http"
	"time"
)

// limitStall ends next's stream when its client accepts nothing for limit.
func limitStall(next http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &stallGuard{ResponseWriter: w, control: http.NewResponseController(w), limit: limit}
		defer s.disarm()
		next.ServeHTTP(s, r)
	})
}

// stallGuard is a ResponseWriter whose writes have a deadline from the first Write to the
// Flush that ends a batch; no deadline runs while the stream is idle.
type stallGuard struct {
	http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	armed   bool
}

func (s *stallGuard) Write(p []byte) (int, error) {
	s.arm()
	return s.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (s *stallGuard) Flush() { _ = s.FlushError() }

// FlushError is called by http.ResponseController.
func (s *stallGuard) FlushError() error {
	s.arm()
	defer s.disarm()
	return s.control.Flush()
}

// Unwrap gives http.ResponseController access to the other methods.
func (s *stallGuard) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *stallGuard) arm() {
	if !s.armed {
		s.armed = true
		_ = s.control.SetWriteDeadline(time.Now().Add(s.limit))
	}
}

func (s *stallGuard) disarm() {
	if s.armed {
		s.armed = false
		_ = s.control.SetWriteDeadline(time.Time{})
	}
}
