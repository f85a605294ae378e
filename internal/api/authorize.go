package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// needed is the role that each path needs. Any other path needs admin.
var needed = map[string]auth.Role{
	"/":        auth.NoRole,
	"/healthz": auth.NoRole,
	"/readyz":  auth.NoRole,
	"/metrics": auth.Read,
	eventsPath: auth.Read,
	longlinev1connect.GatewayListDevicesProcedure:       auth.Read,
	longlinev1connect.GatewayListNodesProcedure:         auth.Read,
	longlinev1connect.GatewayGetDeviceProcedure:         auth.Read,
	longlinev1connect.GatewaySubscribeProcedure:         auth.Read,
	longlinev1connect.GatewayListRetainedProcedure:      auth.Read,
	longlinev1connect.GatewayGetStoreProcedure:          auth.Read,
	longlinev1connect.GatewayListStreamsProcedure:       auth.Read,
	longlinev1connect.GatewayGetStreamProcedure:         auth.Read,
	longlinev1connect.GatewayConsumeProcedure:           auth.Read, // without a consumer's name
	longlinev1connect.GatewayAcknowledgeProcedure:       auth.Operate,
	longlinev1connect.GatewayDeleteConsumerProcedure:    auth.Operate,
	longlinev1connect.GatewayDeleteRetainedProcedure:    auth.Operate,
	longlinev1connect.GatewayPublishProcedure:           auth.Operate,
	longlinev1connect.GatewayBroadcastProcedure:         auth.Operate,
	longlinev1connect.GatewayCallProcedure:              auth.Operate,
	longlinev1connect.GatewayDisconnectProcedure:        auth.Operate,
	longlinev1connect.GatewayGetLedgerProcedure:         auth.Read,
	longlinev1connect.GatewayGetDeviceLedgerProcedure:   auth.Read,
	longlinev1connect.GatewayListDeviceLedgersProcedure: auth.Read,
	longlinev1connect.GatewayListServicesProcedure:      auth.Read,
	longlinev1connect.GatewayListSinksProcedure:         auth.Read,
	longlinev1connect.GatewayPauseSinkProcedure:         auth.Operate,
	longlinev1connect.GatewayResumeSinkProcedure:        auth.Operate,
	longlinev1connect.GatewayReplaySinkProcedure:        auth.Operate,
	longlinev1connect.GatewayStopReplayProcedure:        auth.Operate,
	commandsPath: auth.Read,
	longlinev1connect.GatewayGetCommandProcedure:    auth.Read,
	longlinev1connect.GatewayListCommandsProcedure:  auth.Read,
	longlinev1connect.GatewayWatchCommandsProcedure: auth.Read,
	longlinev1connect.GatewayCreateCommandProcedure: auth.Operate,
	longlinev1connect.GatewayCancelCommandProcedure: auth.Operate,
	longlinev1connect.GatewayServeProcedure:         auth.Serve, // of a service that the token may serve
}

func roleFor(path string) auth.Role {
	if role, ok := needed[path]; ok {
		return role
	}
	switch {
	case strings.HasPrefix(path, streamsPath):
		return auth.Read
	case strings.HasPrefix(path, servicesPath):
		return auth.Serve
	}
	return auth.Admin
}

// callerKey is the key of the context's value that is the *caller.
type callerKey struct{}

// caller is the sender of a request.
type caller struct {
	// Static after construction.
	auth.Caller
	isNode bool // another node has asked, for the caller

	needs auth.Role                                  // owned by the request's goroutine until the request lasts
	may   func(needs auth.Role) (auth.Caller, error) // who the caller is now, or why its token does not allow this role; static after construction
}

// everybody may do everything: there are no tokens.
var everybody = auth.Caller{Role: auth.Admin}

func callerOf(ctx context.Context) *caller {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return c
	}
	return &caller{Caller: everybody, may: func(auth.Role) (auth.Caller, error) { return everybody, nil }}
}

// check returns an error when the caller's token was removed or its role is too low now.
func (c *caller) check() error {
	_, err := c.may(c.needs)
	return err
}

// raise says that the request needs a higher role than its path, and returns an error if the caller has it not.
func (c *caller) raise(needs auth.Role) error {
	c.needs = max(c.needs, needs)
	return c.check()
}

// mayServe returns why the caller may not serve a service now.
func (c *caller) mayServe(name string) error {
	now, err := c.may(auth.Serve)
	if err == nil && !now.Serves(name) {
		err = connect.NewError(connect.CodePermissionDenied, fmt.Errorf("the token may not serve %.100q", name))
	}
	return err
}

// guard serves requests whose token has the role that the path needs.
func (a *API) guard(next http.Handler) http.Handler {
	writer := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, token, host := r.URL.Path, bearerToken(r), r.Host
		needs := roleFor(path)
		who, err := a.authorize(needs, token, host)
		switch {
		case err != nil:
			a.conns.serveAnonymous(w, r, func() {
				if who.Name != "" { // unknown callers must not fill the log
					a.audit(r.Context(), who.Name, path, nil, err)
				}
				refuseCaller(writer, w, r, err)
			})
		case a.node.Roles != nil && needs == auth.NoRole:
			a.conns.serveAnonymous(w, r, func() { next.ServeHTTP(w, r) })
		default:
			markAuthorized(w, r)
			may := func(needs auth.Role) (auth.Caller, error) { return a.authorize(needs, token, host) }
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, &caller{Caller: who, needs: needs, may: may})))
		}
	})
}

// authorize returns the caller, or why it is refused; then also its name, if its token is known.
func (a *API) authorize(needs auth.Role, token, host string) (who auth.Caller, err error) {
	if a.node.Roles == nil {
		if needs != auth.NoRole && !numeric(host) {
			return who, connect.NewError(connect.CodePermissionDenied, errNamedHost)
		}
		return everybody, nil
	}
	if needs == auth.NoRole {
		return who, nil
	}
	who, err = a.node.Roles.Authorize(token)
	switch {
	case err != nil:
		return who, connect.NewError(connect.CodeUnauthenticated, err)
	case !who.Role.Allows(needs):
		return who, connect.NewError(connect.CodePermissionDenied, errors.New("the role "+needs.String()+" is needed, the token has "+who.Role.String()))
	}
	return who, nil
}

func bearerToken(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

var errNamedHost = errors.New("without api.tokens the host in the URL must be an IP address or localhost, so that no web page can reach the port by DNS rebinding")

// numeric reports whether a Host is an IP address or localhost. A page can make its own name
// resolve to loopback, and then has the same origin as this port: DNS rebinding.
func numeric(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	_, err = netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

// refuseCaller answers with err in the protocol of the request.
func refuseCaller(writer *connect.ErrorWriter, w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusForbidden
	if connect.CodeOf(err) == connect.CodeUnauthenticated {
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Bearer realm="longline"`) // RFC 6750 §3
	}
	if writer.IsSupported(r) {
		_ = writer.Write(w, r, err) // it fails only when the client has left
		return
	}
	var c *connect.Error
	if errors.As(err, &c) {
		http.Error(w, c.Message(), status)
	}
}
