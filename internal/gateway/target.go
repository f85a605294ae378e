package gateway

import (
	"bytes"
	"strconv"
	"time"

	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/websocket"
)

// target is what the request's URL says: GET /connect/{device} or /connect?device=ID, with
// the session's options in the query.
type target struct {
	device  string
	token   string // a credential; see Gateway.credentials
	options session.Options
}

const connectPath = "/connect"

func parseTarget(req *websocket.Request) (target, *websocket.HTTPError) {
	var t target
	rest, ok := bytes.CutPrefix(req.Path, []byte(connectPath))
	if !ok || (len(rest) > 0 && rest[0] != '/') {
		return t, &websocket.HTTPError{Status: 404, Reason: "Devices connect at /connect/{device}."}
	}
	if len(rest) > 1 {
		if refusal := t.setDevice(rest[1:]); refusal != nil {
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

// set takes one query parameter. Unknown ones are for others.
func (t *target) set(name string, value []byte) *websocket.HTTPError {
	switch name {
	case "device":
		if t.device != "" {
			return badRequest("The device is named twice.")
		}
		return t.setDevice(value)
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
	if err := topic.ValidateDevice(string(id)); err != nil {
		return badRequest("The device id is not valid: " + err.Error() + ".")
	}
	t.device = string(id)
	return nil
}

func badRequest(reason string) *websocket.HTTPError {
	return &websocket.HTTPError{Status: 400, Reason: reason}
}

// retryAfter is when a device that was refused for want of room may try again, in seconds.
const retryAfter = "5"

func unavailable(reason string) *websocket.HTTPError {
	return &websocket.HTTPError{Status: 503, Reason: reason, Header: []websocket.Field{{Name: "Retry-After", Value: retryAfter}}}
}
