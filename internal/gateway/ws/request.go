package ws

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/proxyproto"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/websocket"
)

// tokenProtocol begins a subprotocol by which a browser, which cannot set headers, shows its token: the token follows
// in base64url without padding, RFC 4648 §5. The gateway never chooses it, so that the token is not in the answer.
const tokenProtocol = "longline.token."

// credentials returns what a device shows: a token or password in the Authorization header, or a token in a
// subprotocol, or one in the query parameter token, whichever comes first in this order; and its certificate. It
// ignores what is malformed.
func (srv *Server) credentials(conn *reactor.Conn, req *websocket.Request, t *target, subprotocol string) *auth.Credentials {
	c := &auth.Credentials{Device: t.device, Protocol: subprotocol}
	if srv.Door.Config.Auth == nil {
		return c
	}
	c.Remote = conn.RemoteAddr().Addr().Unmap()
	c.Certificates = conn.PeerCertificates()
	if authorize(c, string(req.Authorization)); c.Bearer == "" && !c.HasBasic {
		c.Bearer = offeredToken(req)
	}
	if c.Bearer == "" && !c.HasBasic {
		c.Bearer = t.token
	}
	return c
}

// authorize reads the schemes Bearer, RFC 6750 §2.1, and Basic, RFC 7617 §2.
func authorize(c *auth.Credentials, header string) {
	scheme, value, _ := strings.Cut(header, " ")
	value = strings.TrimSpace(value)
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		c.Bearer = value
	case strings.EqualFold(scheme, "Basic"):
		plain, err := base64.StdEncoding.DecodeString(value)
		if err == nil {
			c.Username, c.Password, c.HasBasic = strings.Cut(string(plain), ":")
		}
	}
}

// keyText returns the password of a charger as text. The AuthorizationKey of OCPP 1.6 has 16 to 20 bytes, which are configured as hexadecimal
// digits. Some chargers show those digits, others the bytes: then it is the digits, in lower case.
func keyText(password string) string {
	isText := utf8.ValidString(password) && !strings.ContainsFunc(password, unicode.IsControl)
	if isText {
		return password
	}
	return hex.EncodeToString([]byte(password))
}

// offeredToken returns the token among the subprotocols, or nothing.
func offeredToken(req *websocket.Request) string {
	for name := range req.Protocols {
		if encoded, ok := strings.CutPrefix(string(name), tokenProtocol); ok {
			token, err := base64.RawURLEncoding.DecodeString(encoded)
			if err == nil {
				return string(token)
			}
		}
	}
	return ""
}

// mayComeFrom reports whether a page of an origin may connect, RFC 6455 §10.2. Clients other than browsers send no
// origin.
func (srv *Server) mayComeFrom(origin []byte) bool {
	return origin == nil || len(srv.Config.Origins) == 0 || slices.Contains(srv.Config.Origins, string(origin))
}

// refusal returns the answer to a handshake that is refused; p is nil if that does not say the protocol. In OCPP that
// is 401 also where the user name is not the identity in the URL.
func (srv *Server) refusal(why error, p *protocol) *websocket.HTTPError {
	var no *door.Denied
	var refused *auth.Refusal
	switch {
	case errors.As(why, &no):
		return limitRefusal(no)
	case errors.As(why, &refused) && refused.Forbidden && (p == nil || p.dialect == nil):
		return &websocket.HTTPError{Status: 403, Reason: sentence(refused.Reason)}
	case errors.As(why, &refused):
		return &websocket.HTTPError{Status: 401, Reason: sentence(refused.Reason), Header: srv.challenges()}
	case errors.Is(why, auth.ErrUnavailable):
		return unavailable("The credentials cannot be verified at the moment.")
	case errors.Is(why, door.ErrTooSlow):
		return &websocket.HTTPError{Status: 408, Reason: "The handshake took too long."}
	case errors.Is(why, session.ErrTakenOver):
		return &websocket.HTTPError{Status: 409, Reason: sentence(why.Error())}
	case door.NoRoom(why):
		return unavailable("No room for the device: " + why.Error() + ".")
	}
	return unavailable(sentence(why.Error()))
}

// limitRefusal returns the answer to a handshake that a limit refuses, RFC 9110 §10.2.3 and RFC 6585 §4.
func limitRefusal(no *door.Denied) *websocket.HTTPError {
	status := 503
	if no.Kind == door.Quota {
		status = 429
	}
	return &websocket.HTTPError{Status: status, Reason: sentence(no.Error()), Header: []websocket.Field{{Name: "Retry-After", Value: no.RetryAfter()}}}
}

// challenges returns the headers of a 401 that name the accepted schemes, RFC 9110 §11.6.1.
func (srv *Server) challenges() (fields []websocket.Field) {
	if srv.Door.Config.Auth == nil {
		return nil
	}
	order := srv.Door.Config.Auth.Config().Order
	bearer := slices.ContainsFunc(order, func(m string) bool { return m != "basic" && m != "certificate" })
	if bearer {
		fields = append(fields, websocket.Field{Name: "WWW-Authenticate", Value: `Bearer realm="longline"`})
	}
	if slices.Contains(order, "basic") {
		fields = append(fields, websocket.Field{Name: "WWW-Authenticate", Value: `Basic realm="longline", charset="UTF-8"`})
	}
	return fields
}

// sentence returns a reason as a sentence.
func sentence(reason string) string { return strings.ToUpper(reason[:1]) + reason[1:] + "." }

// useForwardedFor replaces the remote address by the one in X-Forwarded-For, if a trusted proxy sends it. The port is
// 0, because the header has none.
func (srv *Server) useForwardedFor(conn *reactor.Conn, req *websocket.Request) {
	if len(srv.Config.Forwarded) == 0 {
		return
	}
	header := req.ForwardedFor()
	if len(header) == 0 {
		return
	}
	remote := conn.RemoteAddr().Addr()
	if source := proxyproto.ForwardedFor(header, remote, srv.Config.Forwarded); source != remote {
		conn.SetRemoteAddr(netip.AddrPortFrom(source, 0))
	}
}
