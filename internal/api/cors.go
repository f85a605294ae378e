package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/longline/longline/internal/auth"
)

// What pages of other origins may send and see: the headers of Connect and gRPC-Web, in the
// terms of the Fetch standard, https://fetch.spec.whatwg.org/#http-cors-protocol.
const (
	corsMethods = "GET, POST"
	corsHeaders = "Authorization, Content-Type, Connect-Protocol-Version, Connect-Timeout-Ms, Grpc-Timeout, Last-Event-ID, Longline-Error, X-Grpc-Web, X-User-Agent"
	corsExposed = "Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin"
	corsMaxAge  = "7200" // seconds
)

// checkOrigin refuses requests from web pages that may not call, and answers preflight requests.
func (a *API) checkOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		if why := a.fromPage(r); why != "" {
			a.pages.Add(1)
			http.Error(w, why, http.StatusForbidden)
			return
		}
		if origin == "" || sameOrigin(origin, r.Host) {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Add("Vary", "Origin")
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", corsExposed)
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", corsMethods)
			h.Set("Access-Control-Allow-Headers", corsHeaders)
			h.Set("Access-Control-Max-Age", corsMaxAge)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fromPage returns why a request from a web page is refused. It is empty for a page that may call,
// and for clients that are no browsers. A page sends its Origin, except for images and the like: then only
// Sec-Fetch-Site (https://w3c.github.io/webappsec-fetch-metadata/) shows that the page has another origin. A browser
// too old to send that field is recognized by its user agent; without Roles it gets only health and metrics.
func (a *API) fromPage(r *http.Request) (why string) {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	switch {
	case origin != "":
		if !sameOrigin(origin, r.Host) && !slices.Contains(a.config.Origins, origin) {
			return "web pages of this origin may not call the API: it is not in api.origins"
		}
	case site == "cross-site", site == "same-site":
		return "web pages of other origins may not call the API without an Origin header"
	case site == "" && strings.HasPrefix(r.UserAgent(), "Mozilla/") && a.node.Roles == nil && roleFor(r.URL.Path) > auth.NoRole && r.URL.Path != "/metrics":
		return "this browser sends no Sec-Fetch-Site header: without api.tokens it may read only health and metrics"
	}
	return ""
}

// sameOrigin reports whether a page of this port is calling.
func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && u.Host == host
}
