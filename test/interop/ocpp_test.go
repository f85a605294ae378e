package interop

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// chargerPython is the Python that scripts/deps.sh has given the package ocpp.
const chargerPython = "python/venv/bin/python"

// TestChargers: chargers of two libraries, which check each frame by the schemas of OCPP, boot, authorize a card, charge from a
// remote start to a remote stop, and report values. A service over HTTP answers them.
func TestChargers(t *testing.T) {
	system := newSystem(t)
	gateway, err := serve(program, t.TempDir(), fmt.Sprintf(`
services: {csms: {instances: [%q]}}
ocpp: {service: csms}
`, system.url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := gateway.stop(); err != nil {
			t.Error(err)
		}
	})
	api := longlinev1connect.NewGatewayClient(http.DefaultClient, "http://"+gateway.admin)
	for name, line := range map[string][]string{
		"node":   {"node", "node/charger.js"},
		"python": {chargerPython, "python/charger.py"},
	} {
		for _, version := range []string{"ocpp1.6", "ocpp2.0.1"} {
			t.Run(name+" "+version, func(t *testing.T) { // one after the other, so that each machine can
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				s := session16
				if version != "ocpp1.6" {
					s = session201
				}
				identity := "CP/" + name + "-" + rand.Text()
				cmd := childProcess(ctx, append(slices.Clone(line), "ws://"+gateway.devices+"/ocpp", identity, version))
				cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
				if err := cmd.Start(); err != nil {
					t.Fatalf("%v: run scripts/deps.sh", err)
				}
				c := &chargerTest{ctx, t, api, system.of("x:CP:2F" + strings.TrimPrefix(identity, "CP/"))}
				c.play(s)
				if err := cmd.Wait(); err != nil {
					t.Errorf("the charger ended: %v", err)
				}
			})
		}
	}
}

// chargingSession is what a charger asks, in this order, and what it is asked behind two of these.
type chargingSession struct {
	asks        []string
	start, stop remote
}

// remote is a call of a backend, behind the last of the charger's calls of that method.
type remote struct{ behind, method, payload string }

var (
	session16 = chargingSession{
		[]string{"BootNotification", "StatusNotification", "Authorize", "StartTransaction", "MeterValues", "DataTransfer", "StopTransaction"},
		remote{"Authorize", "RemoteStartTransaction", `{"connectorId":1,"idTag":"card-7"}`},
		remote{"DataTransfer", "RemoteStopTransaction", `{"transactionId":7}`},
	}
	session201 = chargingSession{
		[]string{"BootNotification", "StatusNotification", "Authorize", "TransactionEvent", "TransactionEvent", "MeterValues", "DataTransfer", "TransactionEvent"},
		remote{"Authorize", "RequestStartTransaction", `{"remoteStartId":1,"idToken":{"idToken":"card-7","type":"ISO14443"}}`},
		remote{"DataTransfer", "RequestStopTransaction", `{"transactionId":"tx-7"}`},
	}
)

// chargerTest is the backends' side of one charger.
type chargerTest struct {
	ctx   context.Context
	t     *testing.T
	api   longlinev1connect.GatewayClient
	calls *systemCalls
}

func (c *chargerTest) play(s chargingSession) {
	c.t.Helper()
	for _, want := range s.asks {
		if got := receive(c.ctx, c.t, want, c.calls.methods); got != want {
			c.t.Fatalf("the charger asked %s, want %s", got, want)
		}
		for _, r := range []remote{s.start, s.stop} {
			if r.behind == want {
				c.remote(r)
			}
		}
	}
}

// remote calls the charger, which accepts.
func (c *chargerTest) remote(r remote) {
	c.t.Helper()
	answer, err := c.api.Call(c.ctx, connect.NewRequest(&longlinev1.CallRequest{Device: c.calls.device, Method: r.method, Text: &r.payload}))
	if err != nil {
		c.t.Fatal(err)
	}
	if answer.Msg.Error != nil {
		c.t.Fatalf("%s: %v", r.method, answer.Msg.Error)
	}
	sameJSON(c.t, []byte(answer.Msg.GetText()), `{"status": "Accepted"}`)
}

// system is a charging station management system: a service over HTTP.
type system struct {
	url string

	mu       sync.Mutex
	chargers map[string]*systemCalls
}

// systemCalls are the methods that one charger has called.
type systemCalls struct {
	device  string
	methods chan string
}

func newSystem(t *testing.T) *system {
	s := &system{chargers: make(map[string]*systemCalls)}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *system) of(device string) *systemCalls {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chargers[device] == nil {
		s.chargers[device] = &systemCalls{device, make(chan string, buffered)}
	}
	return s.chargers[device]
}

// ServeHTTP answers a charger.
func (s *system) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var asked map[string]any
	err = cmp.Or(err, json.Unmarshal(body, &asked))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	method := strings.TrimPrefix(r.URL.Path, "/")
	defer func() { s.of(r.Header.Get("Longline-Device")).methods <- method }()
	accepted := map[string]string{"status": "Accepted"}
	answer := map[string]any{}
	switch method {
	case "BootNotification":
		answer["status"], answer["interval"], answer["currentTime"] = "Accepted", 300, time.Now().UTC().Format(time.RFC3339)
	case "Authorize":
		answer["idTagInfo"] = accepted
		if asked["idToken"] != nil {
			answer = map[string]any{"idTokenInfo": accepted}
		}
	case "StartTransaction":
		answer["transactionId"], answer["idTagInfo"] = 7, accepted
	case "DataTransfer":
		w.Header().Set("Longline-Error", "unknown_method")
		http.Error(w, "this system has no data transfer", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		panic(http.ErrAbortHandler)
	}
}
