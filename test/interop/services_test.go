package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	sdk "github.com/longline/longline/device"
)

// newBilling starts a service that devices call. It knows one card.
func newBilling() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct{ Card string }
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.URL.Path != "/authorize" || r.Header.Get("Longline-Device") == "" {
			http.Error(w, fmt.Sprint(r.URL.Path, r.Header, err), http.StatusBadRequest)
			return
		}
		if request.Card != "4f2a" {
			w.Header().Set("Longline-Error", "no_funds")
			http.Error(w, "the card is empty", http.StatusPaymentRequired)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write([]byte(`{"accepted":true}`))
	}))
}

// TestServices has devices in several languages and protocols call a service, which accepts one call and refuses the other.
func TestServices(t *testing.T) {
	const python = "/usr/bin/python3"
	host, port, err := net.SplitHostPort(gateway.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	socket := "ws://" + gateway.devices + "/mqtt"
	for name, line := range map[string][]string{
		"node":          {"node", "node/call.js", target(gateway.devices, "call-node")},
		"node-mqtt-4":   {"node", "node/mqtt_call.js", socket, "call-node-4", "4"},
		"node-mqtt-5":   {"node", "node/mqtt_call.js", socket, "call-node-5", "5"},
		"python":        {python, "python/call.py", target(gateway.devices, "call-python")},
		"python-mqtt-4": {python, "python/mqtt_call.py", host, port, "call-python-4", "4"},
		"python-mqtt-5": {python, "python/mqtt_call.py", host, port, "call-python-5", "5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := childProcess(ctx, line)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if got := strings.ReplaceAll(string(out), " true", "true"); err != nil || got != "{\"accepted\":true}\nno_funds: the card is empty\n" {
				t.Errorf("%q, %v: run make deps if a package is missing", out, err)
			}
		})
	}
}

// What mosquitto_rr does is a call too.
func TestServiceByMosquitto(t *testing.T) {
	host, port, err := net.SplitHostPort(gateway.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := childProcess(ctx, []string{"mosquitto_rr", "-V", "5", "-h", host, "-p", port, "-i", "call-rr", "-q", "1",
		"-t", "device/call-rr/service/billing/authorize", "-e", "device/call-rr/answers", "-m", `{"card":"4f2a"}`}).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != `{"accepted":true}` {
		t.Errorf("%q, %v", out, err)
	}
}

func TestServiceBySDK(t *testing.T) {
	for _, protocol := range []sdk.Protocol{sdk.JSON, sdk.Protobuf} {
		callBySDK(t, protocol)
	}
}

func callBySDK(t *testing.T, protocol sdk.Protocol) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d, err := sdk.Dial(ctx, target(gateway.devices, fmt.Sprint("call-go-", protocol)), &sdk.Options{Protocol: protocol})
	if err != nil {
		t.Fatal(err)
	}
	reply, err := d.Call(ctx, "billing", "authorize", map[string]string{"card": "4f2a"})
	if err != nil || string(reply.Payload) != `{"accepted":true}` || reply.ContentType != sdk.ContentJSON {
		t.Errorf("%+v, %v", reply, err)
	}
	var refused *sdk.RefusedError
	_, err = d.Call(ctx, "billing", "authorize", map[string]string{"card": "0"})
	if !errors.As(err, &refused) || refused.Code != "no_funds" || refused.Reason != "the card is empty" {
		t.Errorf("%v", err)
	}
	if err := d.Close(ctx); err != nil {
		t.Error(err)
	}
}
