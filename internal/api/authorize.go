package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// needed is the role for each path. What is not here needs admin, if it is there at all.
var needed = map[string]auth.Role{
	"/":        auth.NoRole,
	"/healthz": auth.NoRole,
	"/readyz":  auth.NoRole,
	"/metrics": auth.Read,
	eventsPath: auth.Read,
	longlinev1connect.GatewayListDevicesProcedure:    auth.Read,
	longlinev1connect.GatewayGetDeviceProcedure:      auth.Read,
	longlinev1connect.GatewaySubscribeProcedure:      auth.Read,
	longlinev1connect.GatewayListRetainedProcedure:   auth.Read,
	longlinev1connect.GatewayDeleteRetainedProcedure: auth.Operate,
	longlinev1connect.GatewayPublishProcedure:        auth.Operate,
	longlinev1connect.GatewayBroadcastProcedure:      auth.Operate,
	longlinev1connect.GatewayCallProcedure:           auth.Operate,
	longlinev1connect.GatewayDisconnectProcedure:     auth.Operate,
}

func roleFor(path string) auth.Role {
	if role, ok := needed[path]; ok {
		return role
	}
	return auth.Admin
}

// callerKey is the key of the context's value that is the *caller.
type callerKey struct{}

// caller is who calls. Static after construction.
type caller struct {
	name  string
	still func() error // says why it may not go on: its token was taken out, or has another role
}

func callerOf(ctx context.Context) *caller {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return c
	}
	return &caller{still: func() error { return nil }}
}

// guard lets those pass whose token has the role that a path needs.
func (a *API) guard(next http.Handler) http.Handler {
	writer := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, token, host := r.URL.Path, bearerToken(r), r.Host
		name, err := a.authorize(path, token, host)
		switch {
		case err != nil:
			a.crowd.briefly(w, r, func() {
				if name != "" { // whom nobody knows does not fill the log
					a.audit(r.Context(), name, path, nil, err)
				}
				turnAway(writer, w, r, err)
			})
		case a.node.Roles != nil && roleFor(path) == auth.NoRole:
			a.crowd.briefly(w, r, func() { next.ServeHTTP(w, r) })
		default:
			greet(w, r)
			still := func() error {
				_, err := a.authorize(path, token, host)
				return err
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, &caller{name, still})))
		}
	})
}

// authorize returns the name of who calls, or why it may not.
func (a *API) authorize(path, token, host string) (name string, err error) {
	needs := roleFor(path)
	if a.node.Roles == nil {
		if !numeric(host) {
			return "", connect.NewError(connect.CodePermissionDenied, errNamedHost)
		}
		return "", nil
	}
	if needs == auth.NoRole {
		return "", nil
	}
	role, name, err := a.node.Roles.Authorize(token)
	switch {
	case err != nil:
		return "", connect.NewError(connect.CodeUnauthenticated, err)
	case !role.Allows(needs):
		return name, connect.NewError(connect.CodePermissionDenied, errors.New("needs the role "+needs.String()+", the token has "+role.String()))
	}
	return name, nil
}

func bearerToken(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

var errNamedHost = errors.New("without api.tokens the port answers to an IP address or localhost only, so that no web page reaches it by a name of its own")

// numeric tells whether a Host is an IP address or localhost. A page can have its own name
// lead to loopback, and is then of the same origin as this port: DNS rebinding.
func numeric(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	_, err = netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

// turnAway answers in the protocol of the request.
func turnAway(writer *connect.ErrorWriter, w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusForbidden
	if connect.CodeOf(err) == connect.CodeUnauthenticated {
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Bearer realm="longline"`) // RFC 6750 §3
	}
	if writer.IsSupported(r) {
		_ = writer.Write(w, r, err) // the client has left: nothing to do
		return
	}
	var c *connect.Error
	if errors.As(err, &c) {
		http.Error(w, c.Message(), status)
	}
}
