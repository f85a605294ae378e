package service

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/longline/longline/internal/reload"
)

// newTransport returns the HTTP client's side of a service.
func newTransport(c *Config, w *reload.Watcher) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil // instances are near
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, c.Concurrency
	t.DisableCompression = true
	if c.Protocol == "h2c" {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
		t.Protocols.SetHTTP2(true)
	}
	dial, err := c.TLS.Dialer(w, "h2", "http/1.1")
	if err != nil {
		return nil, fmt.Errorf("tls.%w", err)
	}
	t.DialTLSContext = dial
	return t, nil
}

// withoutURL returns the error inside of an *url.Error: the instance is named elsewhere, and the path may be a device's.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
