package api

import (
	"io"
	"math"
	"net/http"
	"net/http/pprof"

	"connectrpc.com/connect"

	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

const index = `Longline gateway, admin port

POST /longline.v1.Gateway/{method}   backend API: gRPC, gRPC-Web, HTTP with JSON
     Publish Broadcast Call ListDevices GetDevice Disconnect Subscribe Drain Revoke
     ListRetained DeleteRetained GetStore ListStreams GetStream Consume Acknowledge DeleteConsumer
     GetLedger GetDeviceLedger ListDeviceLedgers ListNodes
     CreateCommand GetCommand ListCommands CancelCommand WatchCommands
     ListServices Serve
     ListSinks PauseSink ResumeSink ReplaySink StopReplay
GET  /v1/subscribe?filter=...&qos=1  messages as server-sent events
GET  /v1/streams/{name}?after=...    entries of a stream as server-sent events
GET  /v1/commands?device=...         commands as they change, as server-sent events
GET  /v1/services/{name}             calls of devices to a service, as server-sent events
POST /v1/services/{name}/answers/{id}  the answer to a call
GET  /healthz                        200 while the process lives
GET  /readyz                         200 while the node accepts devices; each check, and why it fails
GET  /metrics                        for Prometheus
GET  /debug/pprof/                   profiles
`

// Handler serves all paths of the admin port.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	path, methods := longlinev1connect.NewGatewayHandler(a, a.options()...)
	mux.Handle(path, methods)
	for _, procedure := range []string{
		longlinev1connect.GatewaySubscribeProcedure, longlinev1connect.GatewayConsumeProcedure, longlinev1connect.GatewayWatchCommandsProcedure,
	} {
		mux.Handle(procedure, limitStall(methods, a.config.Stall))
	}
	mux.Handle(longlinev1connect.GatewayServeProcedure, limitStall(lastingBody(methods), a.config.Stall))
	mux.Handle("GET "+eventsPath, limitStall(http.HandlerFunc(a.events), a.config.Stall))
	mux.Handle("GET "+streamsPath+"{name}", limitStall(http.HandlerFunc(a.entryEvents), a.config.Stall))
	mux.Handle("GET "+commandsPath, limitStall(http.HandlerFunc(a.commandEvents), a.config.Stall))
	mux.Handle("GET "+servicesPath+"{name}", limitStall(http.HandlerFunc(a.callEvents), a.config.Stall))
	mux.HandleFunc("POST "+servicesPath+"{name}/answers/{id}", a.answerCall)
	mux.HandleFunc("GET /healthz", respond(http.StatusOK, "ok\n"))
	mux.HandleFunc("GET /readyz", a.ready)
	mux.HandleFunc("GET /{$}", respond(http.StatusOK, index))
	if a.node.Metrics != nil {
		mux.Handle("GET /metrics", a.node.Metrics)
	}
	handleProfiles(mux)
	return a.checkOrigin(a.guard(mux))
}

// options returns the options of the RPC handlers. Batches are not compressed, which would cost more
// CPU than everything else; clients request it by default.
func (a *API) options() []connect.HandlerOption {
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(a.config.maxBody()),
		connect.WithInterceptors(observer{a}, auditor{a}, forwarder{a}),
		connect.WithConditionalHandlerOptions(func(s connect.Spec) []connect.HandlerOption {
			if s.StreamType == connect.StreamTypeUnary {
				return nil
			}
			return []connect.HandlerOption{connect.WithCompressMinBytes(math.MaxInt)}
		}),
	}
	for _, c := range jsonCodecs {
		options = append(options, connect.WithCodec(c))
	}
	return append(options, a.node.Options...)
}

// ready writes one line per check.
func (a *API) ready(w http.ResponseWriter, r *http.Request) {
	status, text := http.StatusOK, ""
	for _, c := range a.node.Checks {
		state := "ok"
		if err := c.Failed(); err != nil {
			status, state = http.StatusServiceUnavailable, "failed: "+err.Error()
		}
		text += c.Name + " " + state + "\n"
	}
	respond(status, text)(w, r)
}

// respond returns a handler that answers with a text.
func respond(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text) // it fails only when the client has left
	}
}

func handleProfiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}
