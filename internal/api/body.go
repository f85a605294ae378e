package api

import (
	"io"
	"net/http"
	"time"
)

// timely bounds how long a request's body takes to come, from its head to its end, also when
// nobody reads it: before the answer the server reads what is left.
func timely(next http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(time.Now().Add(limit))
			r.Body = &timelyBody{r.Body, control}
		}
		next.ServeHTTP(w, r)
	})
}

// timelyBody lifts the deadline at the body's end: what is read after only shows whether the
// client is there.
type timelyBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *timelyBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
