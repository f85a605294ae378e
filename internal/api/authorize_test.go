package api

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/router"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// newDoor returns a world whose API knows one token per role, named after it.
func newDoor(t *testing.T, change func(*Config, *Node)) *world {
	t.Helper()
	var lines strings.Builder
	for _, role := range []string{"read", "serve:billing", "operate", "admin"} {
		sum := sha256.Sum256([]byte(role + " token"))
		lines.WriteString(role + " sha256:" + hex.EncodeToString(sum[:]) + " " + role + "-1\n")
	}
	name := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(name, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	roles, err := auth.OpenRoles(name, new(reload.Watcher))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Config{}, router.Config{})
	n, c := w.node(t), Config{Address: "127.0.0.1:0", Origins: []string{"https://ops.example.com"}}
	n.Roles = roles
	change(&c, &n)
	w.api = New(c, n)
	w.serve(t)
	return w
}

// do sends a request with headers and returns the response's status and header.
func (w *world) do(t *testing.T, method, path, body string, header ...string) (int, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	response, err := w.h1.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode, response.Header
}

const procedures = "/longline.v1.Gateway/"

func TestRoles(t *testing.T) {
	w := newDoor(t, func(*Config, *Node) {})
	w.connect(t, "a", new(fakeDevice))
	w.gateway.ready.Store(true)
	for _, tt := range []struct {
		method, path, body string
		want               [5]int // without a token, read, serve:billing, operate, admin
	}{
		{"GET", "/", "", [5]int{200, 200, 200, 200, 200}},
		{"GET", "/healthz", "", [5]int{200, 200, 200, 200, 200}},
		{"GET", "/readyz", "", [5]int{200, 200, 200, 200, 200}},
		{"GET", "/metrics", "", [5]int{401, 200, 403, 200, 200}},
		{"GET", "/debug/pprof/cmdline", "", [5]int{401, 403, 403, 403, 200}},
		{"GET", "/nothing", "", [5]int{401, 403, 403, 403, 404}},
		{"GET", "/v1/subscribe", "", [5]int{401, 400, 403, 400, 400}}, // no filter
		{"POST", procedures + "ListDevices", "{}", [5]int{401, 200, 403, 200, 200}},
		{"POST", procedures + "ListRetained", "{}", [5]int{401, 200, 403, 200, 200}},
		{"POST", procedures + "DeleteRetained", `{"filter":"a"}`, [5]int{401, 403, 403, 200, 200}},
		{"POST", procedures + "ListStreams", "{}", [5]int{401, 200, 403, 200, 200}},
		{"POST", procedures + "GetStream", `{"stream":"s"}`, [5]int{401, 404, 403, 404, 404}},
		{"POST", procedures + "Acknowledge", `{"stream":"s","place":"1"}`, [5]int{401, 403, 403, 404, 404}},
		{"POST", procedures + "DeleteConsumer", `{"stream":"s"}`, [5]int{401, 403, 403, 404, 404}},
		{"POST", procedures + "Consume", "{}", [5]int{401, 415, 403, 415, 415}}, // not the content type of a stream
		{"GET", "/v1/streams/s", "", [5]int{401, 404, 403, 404, 404}},
		{"GET", "/v1/streams/s/t", "", [5]int{401, 404, 403, 404, 404}},
		{"GET", "/v1/streams/../../debug/pprof/cmdline", "", [5]int{401, 403, 403, 403, 200}},
		{"POST", procedures + "GetDevice", `{"device":"a"}`, [5]int{401, 200, 403, 200, 200}},
		{"POST", procedures + "GetLedger", "{}", [5]int{401, 200, 403, 200, 200}},
		{"POST", procedures + "GetDeviceLedger", `{"device":"a"}`, [5]int{401, 200, 403, 200, 200}},
		{"POST", procedures + "ListDeviceLedgers", "{}", [5]int{401, 200, 403, 200, 200}},
		{"POST", procedures + "Publish", `{"message":{"topic":"t"}}`, [5]int{401, 403, 403, 200, 200}},
		{"POST", procedures + "Broadcast", `{"message":{"topic":"t"}}`, [5]int{401, 403, 403, 200, 200}},
		{"POST", procedures + "Call", `{"device":"b","method":"m"}`, [5]int{401, 403, 403, 404, 404}},
		{"POST", procedures + "Disconnect", `{"device":"b"}`, [5]int{401, 403, 403, 404, 404}},
		{"POST", procedures + "ListServices", "{}", [5]int{401, 200, 403, 200, 200}},
		{"POST", procedures + "ListSinks", "{}", [5]int{401, 200, 403, 200, 200}},
		{"POST", procedures + "PauseSink", `{"sink":"s"}`, [5]int{401, 403, 403, 404, 404}},
		{"POST", procedures + "ResumeSink", `{"sink":"s"}`, [5]int{401, 403, 403, 404, 404}},
		{"POST", procedures + "ReplaySink", `{"sink":"s","from":1}`, [5]int{401, 403, 403, 404, 404}},
		{"POST", procedures + "StopReplay", `{"sink":"s"}`, [5]int{401, 403, 403, 404, 404}},
		{"GET", "/v1/commands?state=x", "", [5]int{401, 400, 403, 400, 400}},
		{"POST", procedures + "ListCommands", "{}", [5]int{401, 200, 403, 200, 200}},
		{"POST", procedures + "GetCommand", `{"id":1}`, [5]int{401, 404, 403, 404, 404}},
		{"POST", procedures + "CreateCommand", `{"device":"a"}`, [5]int{401, 403, 403, 400, 400}}, // no method
		{"POST", procedures + "CancelCommand", `{"id":1}`, [5]int{401, 403, 403, 404, 404}},
		{"POST", procedures + "Revoke", `{"device":"b","until":"2030-01-01T00:00:00Z"}`, [5]int{401, 403, 403, 403, 200}},
		{"POST", procedures + "Drain", "{}", [5]int{401, 403, 403, 403, 200}},
		{"POST", procedures + "Serve", "{}", [5]int{401, 403, 505, 505, 505}}, // it needs HTTP/2
		{"GET", "/v1/services/billing", "", [5]int{401, 403, 404, 404, 404}},  // it is not in the configuration
		{"GET", "/v1/services/grid", "", [5]int{401, 403, 403, 404, 404}},
		{"GET", "/v1/services/billing%2Fgrid", "", [5]int{401, 403, 403, 404, 404}},
		{"POST", "/v1/services/billing/answers/x", "", [5]int{401, 403, 404, 404, 404}},
		{"POST", "/v1/services/grid/answers/x", "", [5]int{401, 403, 403, 404, 404}},
	} {
		for i, token := range []string{"", "read token", "serve:billing token", "operate token", "admin token"} {
			if got, _ := w.do(t, tt.method, tt.path, tt.body, "Authorization", "Bearer "+token); got != tt.want[i] {
				t.Errorf("%s with %q: %d, want %d", tt.path, token, got, tt.want[i])
			}
		}
	}
	if status, h := w.do(t, "GET", "/metrics", "", "Authorization", "Basic x"); status != 401 || !strings.HasPrefix(h.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("%d, challenge %q", status, h.Get("WWW-Authenticate"))
	}
	for _, protocol := range []string{"grpc", "grpc-web", "json"} {
		_, err := w.client(protocol).ListDevices(t.Context(), connect.NewRequest(new(longlinev1.ListDevicesRequest)))
		if connect.CodeOf(err) != connect.CodeUnauthenticated || !strings.Contains(err.Error(), "no token was presented") {
			t.Errorf("%s: %v", protocol, err)
		}
	}
}

// Web pages may call if they have the port's own origin, or one that is configured.
func TestWebPages(t *testing.T) {
	w := newDoor(t, func(*Config, *Node) {})
	own := w.url
	for _, tt := range []struct {
		method, origin string
		status         int
		allowed        string
	}{
		{"GET", "", 200, ""},
		{"GET", own, 200, ""},
		{"GET", "https://ops.example.com", 200, "https://ops.example.com"},
		{"GET", "https://evil.example.com", 403, ""},
		{"GET", "null", 403, ""},
		{"OPTIONS", "https://ops.example.com", 204, "https://ops.example.com"},
		{"OPTIONS", "https://evil.example.com", 403, ""},
	} {
		header := []string{"Authorization", "Bearer read token", "Origin", tt.origin}
		if tt.method == "OPTIONS" { // browsers send no credentials with it
			header = []string{"Access-Control-Request-Method", "POST", "Origin", tt.origin}
		}
		status, h := w.do(t, tt.method, "/metrics", "", header...)
		if status != tt.status || h.Get("Access-Control-Allow-Origin") != tt.allowed {
			t.Errorf("%s from %q: %d, allows %q", tt.method, tt.origin, status, h.Get("Access-Control-Allow-Origin"))
		}
	}
}

// Without tokens, requests with any host name but localhost are refused: a web page could make its own name resolve to this port.
func TestOpenDoorKnowsNoNames(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	for host, want := range map[string]int{
		"127.0.0.1:8081": 200, "localhost": 200, "[::1]:8081": 200, "evil.example.com:8081": 403, "localhost.example.com": 403,
	} {
		if got, _ := w.do(t, "GET", "/metrics", "", "Host", host); got != want {
			t.Errorf("%s: %d, want %d", host, got, want)
		}
	}
	if got, _ := w.do(t, "GET", "/readyz", "", "Host", "a-balancer-asks.example.com"); got != 200 {
		t.Errorf("a health check is refused with %d", got)
	}
}

// The audit log has what was done, and what a known caller was refused, but not what was read.
func TestAudit(t *testing.T) {
	var log bytes.Buffer
	w := newDoor(t, func(_ *Config, n *Node) { n.Audit = slog.New(slog.NewJSONHandler(&log, nil)) })
	for _, call := range [][3]string{
		{"ListDevices", "{}", "operate token"},
		{"Publish", `{"message":{"topic":"t","text":"secret"}}`, "operate token"},
		{"Call", `{"device":"b","method":"m"}`, "admin token"},
		{"DeleteConsumer", `{"stream":"s","consumer":"c"}`, "operate token"},
		{"Acknowledge", `{"stream":"s","consumer":"c","place":"1"}`, "operate token"},
		{"Drain", "{}", "operate token"},
		{"Drain", "{}", "nobody's"},
	} {
		w.do(t, "POST", procedures+call[0], call[1], "Authorization", "Bearer "+call[2])
	}
	want := []map[string]string{
		{"who": "operate-1", "method": procedures + "Publish", "topic": "t", "result": "ok"},
		{"who": "admin-1", "method": procedures + "Call", "device": "b", "call": "m", "result": "not_found"},
		{"who": "operate-1", "method": procedures + "DeleteConsumer", "stream": "s", "consumer": "c", "result": "not_found"},
		{"who": "operate-1", "method": procedures + "Drain", "result": "permission_denied"},
	}
	for d := json.NewDecoder(&log); d.More(); want = want[1:] {
		var got map[string]string
		if err := d.Decode(&got); err != nil || len(want) == 0 {
			t.Fatalf("%v: line %v too much", err, got)
		}
		for key, value := range want[0] {
			if got[key] != value {
				t.Errorf("%s is %q, want %q in %v", key, got[key], value, got)
			}
		}
		if got["time"] == "" || strings.Contains(got["error"], "secret") {
			t.Errorf("%v", got)
		}
	}
	if len(want) > 0 {
		t.Errorf("no line for %v", want)
	}
}

func TestAdminPortOverTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	w := newDoor(t, func(_ *Config, n *Node) {
		n.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
		}
	})
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	url := strings.Replace(w.url, "http:", "https:", 1)
	for name, option := range map[string]connect.ClientOption{"grpc": connect.WithGRPC(), "json": connect.WithProtoJSON()} {
		c := longlinev1connect.NewGatewayClient(&http.Client{Transport: transport}, url, option, connect.WithInterceptors(token("read token")))
		if _, err := c.ListDevices(t.Context(), connect.NewRequest(new(longlinev1.ListDevicesRequest))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// token returns an option that makes a client present the token.
func token(value string) connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
			r.Header().Set("Authorization", "Bearer "+value)
			return next(ctx, r)
		}
	})
}

func TestRevoke(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		until := timestamppb.New(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
		for _, tt := range []struct {
			request *longlinev1.RevokeRequest
			code    connect.Code // 0 is none
			want    string
		}{
			{&longlinev1.RevokeRequest{Device: "m-1", Until: until}, 0, ""},
			{&longlinev1.RevokeRequest{Credential: "serial:7f", Until: until}, 0, ""},
			{&longlinev1.RevokeRequest{Until: until}, connect.CodeInvalidArgument, "must be set, but not both"},
			{&longlinev1.RevokeRequest{Device: "a", Credential: "b", Until: until}, connect.CodeInvalidArgument, "must be set, but not both"},
			{&longlinev1.RevokeRequest{Device: "a/b", Until: until}, connect.CodeInvalidArgument, "device"},
			{&longlinev1.RevokeRequest{Device: "a"}, connect.CodeInvalidArgument, "until"},
			{&longlinev1.RevokeRequest{Device: "none", Until: until}, connect.CodeFailedPrecondition, "not asked for credentials"},
		} {
			r, err := c.Revoke(t.Context(), connect.NewRequest(tt.request))
			switch {
			case tt.code == 0 && (err != nil || r.Msg.Closed != 1):
				t.Errorf("%v: %v, %v", tt.request, r, err)
			case tt.code != 0 && (connect.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v: %v, want %v with %q", tt.request, err, tt.code, tt.want)
			}
		}
		if got := strings.Join(w.gateway.revoked, ", "); got != "m-1 until 2030-01-01, credential serial:7f until 2030-01-01" {
			t.Error(got)
		}
	})
}

func TestConfigIsValidated(t *testing.T) {
	for _, tt := range []struct {
		config Config
		want   string // beginning of the error; empty if there is none
	}{
		{Config{}, ""},
		{Config{Address: "localhost:1"}, ""},
		{Config{Address: ":8081", Tokens: "file"}, ""},
		{Config{Address: ":8081"}, "tokens: "},
		{Config{Address: "192.0.2.1:8081"}, "tokens: "},
		{Config{Cert: "x"}, "cert: "},
		{Config{Address: "8081"}, "address: "},
	} {
		err := tt.config.WithDefaults().Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.config, err, tt.want)
		}
	}
}
