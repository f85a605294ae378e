package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"time"
)

// client returns an HTTP client that connects by dial, whatever its URLs say.
func client(dial func(ctx context.Context) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		Protocols:   http1(),
	}}
}

func http1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

// API is an HTTP client of the admin port.
type API struct {
	HTTP     *http.Client // connects to a gateway, whatever its URLs say
	gateways Gateways
}

// NewAPI returns a client with a name.
func NewAPI(g Gateways, name string) *API {
	c := client(func(ctx context.Context) (net.Conn, error) {
		return g.Dial(ctx, name, func(a Addresses) string { return a.Admin })
	})
	c.Transport.(*http.Transport).DisableKeepAlives = true // so that a cluster gets each request at another node
	return &API{gateways: g, HTTP: c}
}

// Post calls a method of the API when a gateway is up, and returns the status; answer gets the response if it is 200.
func (a *API) Post(ctx context.Context, method string, request, answer any) (status int, err error) {
	if err := a.gateways.Wait(ctx); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/longline.v1.Gateway/"+method, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := a.HTTP.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err == nil && answer != nil && response.StatusCode == http.StatusOK {
		err = json.Unmarshal(b, answer)
	}
	return response.StatusCode, err
}

// Get returns the status and body of a page of the admin port.
func (a *API) Get(ctx context.Context, path string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return 0, "", err
	}
	answer, err := a.HTTP.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(b), err
}
