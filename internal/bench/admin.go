package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Admin is the admin port of a gateway.
type Admin struct {
	URL    string // http://ADDRESS:PORT
	Client *http.Client
}

// Get requests a path. If the status is not 200, it returns an error with the body.
func (a *Admin) Get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := a.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, resp.Status)
	}
	return body, err
}

// Metrics requests the values of all metrics.
func (a *Admin) Metrics(ctx context.Context) (Metrics, error) {
	text, err := a.Get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	return ParseMetrics(text), nil
}

// Metrics are values by name and labels, as in the text format of Prometheus.
type Metrics map[string]float64

// ParseMetrics reads the text format of Prometheus, without times. It skips lines that are not of that
// format.
func ParseMetrics(text []byte) Metrics {
	all := make(Metrics)
	for l := range bytes.Lines(text) {
		l = bytes.TrimSpace(l)
		i := bytes.LastIndexByte(l, ' ')
		if i < 0 || l[0] == '#' {
			continue
		}
		if v, err := strconv.ParseFloat(string(l[i+1:]), 64); err == nil {
			all[string(l[:i])] = v
		}
	}
	return all
}

// Sum adds up the series whose name and labels begin with prefix.
func (m Metrics) Sum(prefix string) (sum float64) {
	for name, v := range m {
		if strings.HasPrefix(name, prefix) {
			sum += v
		}
	}
	return sum
}
