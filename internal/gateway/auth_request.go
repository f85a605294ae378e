package gateway

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
)

// tokenProtocol begins what a browser, which cannot set headers, offers as a subprotocol
// besides the one that it speaks: the token follows in base64url without padding, RFC 4648
// §5. It is never chosen, so that it does not come back in the answer.
const tokenProtocol = "longline.token."

// credentials are what a device shows: in the Authorization header, as a subprotocol or as
// the query parameter token, the first of them, and its certificate. What is nothing of the
// kind is as if it were not there.
func (g *Gateway) credentials(conn *reactor.Conn, req *websocket.Request, t *target, subprotocol string) *auth.Credentials {
	c := &auth.Credentials{Device: t.device, Protocol: subprotocol}
	if g.admission.chain == nil {
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

// offeredToken is the token among the subprotocols.
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

// mayComeFrom tells whether a page of an origin may connect, RFC 6455 §10.2. What is no
// browser sends none.
func (g *Gateway) mayComeFrom(origin []byte) bool {
	return origin == nil || len(g.config.Origins) == 0 || slices.Contains(g.config.Origins, string(origin))
}

// refusal is the answer to a handshake that is not accepted.
func (g *Gateway) refusal(why error) *websocket.HTTPError {
	var no *denied
	var refused *auth.Refusal
	switch {
	case errors.As(why, &no):
		return no.http()
	case errors.As(why, &refused) && refused.Forbidden:
		return &websocket.HTTPError{Status: 403, Reason: sentence(refused.Reason)}
	case errors.As(why, &refused):
		return &websocket.HTTPError{Status: 401, Reason: sentence(refused.Reason), Header: g.challenges()}
	case errors.Is(why, auth.ErrUnavailable):
		return unavailable("Who the device is cannot be verified at the moment.")
	case errors.Is(why, errTooSlow):
		return &websocket.HTTPError{Status: 408, Reason: "The handshake took too long."}
	case noRoom(why):
		return unavailable("No room for the device: " + why.Error() + ".")
	}
	return unavailable(sentence(why.Error()))
}

// challenges are what a 401 asks for, RFC 9110 §11.6.1.
func (g *Gateway) challenges() (fields []websocket.Field) {
	if g.admission.chain == nil {
		return nil
	}
	order := g.admission.chain.Config().Order
	bearer := slices.ContainsFunc(order, func(m string) bool { return m != "basic" && m != "certificate" })
	if bearer {
		fields = append(fields, websocket.Field{Name: "WWW-Authenticate", Value: `Bearer realm="longline"`})
	}
	if slices.Contains(order, "basic") {
		fields = append(fields, websocket.Field{Name: "WWW-Authenticate", Value: `Basic realm="longline", charset="UTF-8"`})
	}
	return fields
}

// sentence makes one of a reason.
func sentence(reason string) string { return strings.ToUpper(reason[:1]) + reason[1:] + "." }
