package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/longline/longline/internal/auth"
)

// What pages of other origins may send and see: Connect's and gRPC-Web's headers, in the
// terms of the Fetch standard, https://fetch.spec.whatwg.org/#http-cors-protocol.
const (
	corsMethods = "GET, POST"
	corsHeaders = "Authorization, Content-Type, Connect-Protocol-Version, Connect-Timeout-Ms, Grpc-Timeout, X-Grpc-Web, X-User-Agent"
	corsExposed = "Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin"
	corsMaxAge  = "7200" // seconds
)

// across judges requests of web pages, and answers preflights.
func (a *API) across(next http.Handler) http.Handler {
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

// fromPage says why a request may not come from the web page that it comes from; it is empty for one that
// may, and for what is no browser. A page sends its Origin, unless it asks for an image or the like: then only
// Sec-Fetch-Site (https://w3c.github.io/webappsec-fetch-metadata/) tells that it is another's. A browser
// too old to send that is told by its name, and where no token is asked for it gets nothing but health and metrics.
func (a *API) fromPage(r *http.Request) (why string) {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	switch {
	case origin != "":
		if !sameOrigin(origin, r.Host) && !slices.Contains(a.config.Origins, origin) {
			return "pages of this origin may not call: api.origins does not have it"
		}
	case site == "cross-site", site == "same-site":
		return "pages of other origins may not call without saying who they are"
	case site == "" && strings.HasPrefix(r.UserAgent(), "Mozilla/") && a.node.Roles == nil && roleFor(r.URL.Path) > auth.NoRole && r.URL.Path != "/metrics":
		return "this browser does not say which page it is asked by (Sec-Fetch-Site): without api.tokens it gets health and metrics only"
	}
	return ""
}

// sameOrigin tells whether a page of this port calls.
func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && u.Host == host
}
