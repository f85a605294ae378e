package fleet

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// target is where devices connect.
type target struct {
	addr          netip.AddrPort
	host          string // value of the Host header
	name          string // host name that the certificate must be for
	secure        bool   // use TLS
	before, after string // parts of the request target before and after the device id
}

const placeholder = "{device}"

// parseTarget reads Config.Gateway and resolves its host.
func parseTarget(raw string) (target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return target{}, fmt.Errorf("gateway: %w", err)
	}
	switch {
	case u.Scheme != "ws" && u.Scheme != "http" && u.Scheme != "wss" && u.Scheme != "https":
		return target{}, fmt.Errorf("gateway %q: want a URL such as ws://127.0.0.1:8080/connect, or wss://", raw)
	case u.Hostname() == "":
		return target{}, fmt.Errorf("gateway %q names no host", raw)
	}
	t := target{host: u.Host, name: u.Hostname(), secure: u.Scheme == "wss" || u.Scheme == "https"}
	if t.before, t.after, err = splitTarget(u); err != nil {
		return target{}, err
	}
	t.addr, err = resolve(u, t.secure)
	return t, err
}

// splitTarget splits the request target where the device id belongs.
func splitTarget(u *url.URL) (before, after string, err error) {
	if u.Path == "" || u.Path == "/" {
		u.Path = "/connect"
	}
	whole := strings.ReplaceAll(u.RequestURI(), url.PathEscape(placeholder), placeholder)
	for _, b := range []byte(whole) { // RFC 3986 §2: the rest is percent-encoded
		if b <= ' ' || b > '~' {
			return "", "", fmt.Errorf("gateway: the query of %q is not percent-encoded", u.Redacted())
		}
	}
	if !strings.Contains(whole, placeholder) {
		whole = withQuery(whole, u.RawQuery != "")
	}
	before, after, _ = strings.Cut(whole, placeholder)
	return before, after, nil
}

// withQuery adds the device id as a query parameter.
func withQuery(target string, more bool) string {
	if more {
		return target + "&device=" + placeholder
	}
	return strings.TrimSuffix(target, "?") + "?device=" + placeholder
}

func resolve(u *url.URL, secure bool) (netip.AddrPort, error) {
	port := u.Port()
	if port == "" {
		port = "80"
		if secure {
			port = "443"
		}
	}
	a, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("gateway %q: %w", u.Redacted(), err)
	}
	addr := a.AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), nil
}
