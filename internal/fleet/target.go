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
	host          string // of the Host header
	before, after string // of the device id in the request's target
}

const placeholder = "{device}"

// parseTarget reads Config.Gateway and looks its host up.
func parseTarget(raw string) (target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return target{}, fmt.Errorf("gateway: %w", err)
	}
	switch {
	case u.Scheme == "wss" || u.Scheme == "https":
		return target{}, fmt.Errorf("gateway %q: a fleet does not speak TLS yet; want ws://", u.Redacted())
	case u.Scheme != "ws" && u.Scheme != "http":
		return target{}, fmt.Errorf("gateway %q: want a URL such as ws://127.0.0.1:8080/connect", raw)
	case u.Hostname() == "":
		return target{}, fmt.Errorf("gateway %q names no host", raw)
	}
	t := target{host: u.Host}
	t.before, t.after = splitTarget(u)
	t.addr, err = resolve(u)
	return t, err
}

// splitTarget cuts the request's target where the device id goes.
func splitTarget(u *url.URL) (before, after string) {
	if u.Path == "" || u.Path == "/" {
		u.Path = "/connect"
	}
	whole := strings.ReplaceAll(u.RequestURI(), url.PathEscape(placeholder), placeholder)
	if before, after, found := strings.Cut(whole, placeholder); found {
		return before, after
	}
	if u.RawQuery != "" {
		return whole + "&device=", ""
	}
	return strings.TrimSuffix(whole, "?") + "?device=", ""
}

func resolve(u *url.URL) (netip.AddrPort, error) {
	port := u.Port()
	if port == "" {
		port = "80"
	}
	a, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("gateway %q: %w", u.Redacted(), err)
	}
	addr := a.AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), nil
}
