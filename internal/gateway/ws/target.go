package ws

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/websocket"
)

// target is what the request's URL says: /connect/{device} or /connect?device=ID, with the session's options in the
// query.
type target struct {
	device  string
	token   string // a credential; see Server.credentials
	options session.Options
}

const connectPath = "/connect"

// target parses the URL of a device.
func (srv *Server) target(req *websocket.Request) (target, *websocket.HTTPError) {
	var t target
	rest, ok := srv.deviceOf(tidyPath(req.Path))
	if !ok {
		return t, srv.notFoundAnswer
	}
	if len(rest) > 0 {
		if refusal := t.setDevice(rest); refusal != nil {
			return t, refusal
		}
	}
	for query := req.RawQuery; len(query) > 0; {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte{'&'})
		name, value, _ := bytes.Cut(pair, []byte{'='})
		if refusal := t.set(string(name), value); refusal != nil {
			return t, refusal
		}
	}
	return t, nil
}

// tidyPath replaces several slashes by one and removes those at the end, which proxies and configurations of devices
// add.
func tidyPath(p []byte) []byte {
	if !bytes.Contains(p, []byte("//")) && (len(p) < 2 || p[len(p)-1] != '/') {
		return p
	}
	tidy := make([]byte, 0, len(p))
	for _, c := range p {
		if c != '/' || len(tidy) == 0 || tidy[len(tidy)-1] != '/' {
			tidy = append(tidy, c)
		}
	}
	if n := len(tidy); n > 1 && tidy[n-1] == '/' {
		tidy = tidy[:n-1]
	}
	return tidy
}

// deviceOf returns what follows the longest of the server's paths with which path begins, still escaped: empty if it
// names no device. ok is false for any other path.
func (srv *Server) deviceOf(path []byte) (device []byte, ok bool) {
	for _, p := range srv.paths {
		if device, ok = below(path, p); ok {
			break
		}
	}
	return device, ok
}

// below returns what follows prefix and a slash.
func below(path []byte, prefix string) (rest []byte, ok bool) {
	if len(path) < len(prefix) || string(path[:len(prefix)]) != prefix {
		return nil, false
	}
	rest = path[len(prefix):]
	if len(rest) == 0 {
		return nil, true
	}
	return rest[1:], rest[0] == '/'
}

// notFound returns the answer that lists the paths.
func notFound(paths, others []string) *websocket.HTTPError {
	all := "Devices connect at " + strings.Join(paths, "/{device}, ") + "/{device}"
	if n := len(others); n > 0 {
		all += "; MQTT at " + strings.Join(others[:n-1], ", ") + " or " + others[n-1]
	}
	return &websocket.HTTPError{Status: 404, Reason: all + "; GET " + healthPath + " says whether the node accepts devices."}
}

// set applies one query parameter. It ignores unknown ones.
func (t *target) set(name string, value []byte) *websocket.HTTPError {
	switch name {
	case "device":
		if t.device != "" {
			return badRequest("The URL names the device twice.")
		}
		return t.setDevice(bytes.ReplaceAll(value, []byte("+"), []byte(" "))) // URLSearchParams and urlencode write a space as +
	case "token":
		token, err := websocket.Unescape(nil, value)
		if err != nil {
			return badRequest("Query parameter token has a bad percent escape.")
		}
		t.token = string(token)
	case "clean":
		clean, err := strconv.ParseBool(string(value))
		if err != nil {
			return badRequest("Query parameter clean: want true or false.")
		}
		t.options.Clean = clean
	case "expiry":
		seconds, err := strconv.ParseUint(string(value), 10, 32)
		if err != nil {
			return badRequest("Query parameter expiry: want a number of seconds.")
		}
		expiry := time.Duration(seconds) * time.Second
		t.options.Expiry = &expiry
	}
	return nil
}

func (t *target) setDevice(escaped []byte) *websocket.HTTPError {
	id, err := websocket.Unescape(nil, escaped)
	if err != nil {
		return badRequest("The device id has a bad percent escape.")
	}
	if t.device, err = topic.DeviceID(string(id)); err != nil {
		return badRequest("The device id is not valid: " + err.Error() + ".")
	}
	return nil
}

func badRequest(reason string) *websocket.HTTPError {
	return &websocket.HTTPError{Status: 400, Reason: reason}
}

// retryAfter is when a device that found no room may try again, in seconds.
const retryAfter = "5"

func unavailable(reason string) *websocket.HTTPError {
	return &websocket.HTTPError{Status: 503, Reason: reason, Header: []websocket.Field{{Name: "Retry-After", Value: retryAfter}}}
}
