package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// client are the flags of the commands that ask a running gateway.
type client struct {
	Server string `env:"LONGLINE_SERVER" default:"http://127.0.0.1:8081" placeholder:"URL" help:"Admin port of the gateway (${default})."`
	Token  string `env:"LONGLINE_TOKEN" placeholder:"TOKEN" help:"Token for the admin port. Other users of the machine can see a command line: LONGLINE_TOKEN in the environment is safer."`
}

// gateway returns the API of the gateway.
func (c *client) gateway() (longlinev1connect.GatewayClient, error) {
	server := c.Server
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--server %s: want a URL such as http://127.0.0.1:8081", c.Server)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	return longlinev1connect.NewGatewayClient(&http.Client{
		Transport:     bearer{c.Token, transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for this server alone
	}, strings.TrimSuffix(server, "/")), nil
}

// bearer adds a token to each request.
type bearer struct {
	token string
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}
