package gateway

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// denied is why a connection may not come in now, and when it may try again.
type denied struct {
	label  string // of the metric
	reason string
	status int       // of HTTP
	code   mqtt.Code // of MQTT 5; 3.1.1 has one for all
	after  time.Duration
}

func (d *denied) Error() string { return d.reason }

// retryTime is for who meets a limit that says nothing about when there is room: spread, so
// that they do not come back as one wave.
func retryTime() time.Duration { return 5*time.Second + rand.N(10*time.Second) }

// Labels of denials that have no limit.Refusal.
const (
	labelRate       = "connect_rate"         // the line is full
	labelRateTime   = "connect_rate_timeout" // the turn did not come within the handshake's time
	labelMemory     = "memory"
	labelCredential = "credential_sessions" // or bytes of wills
	labelUnverified = "unverified_bytes"    // of all unfinished handshakes
)

// deny says what an error means for who connects, nil when no limit refuses.
func deny(err error) *denied {
	var no *denied
	var busy *limit.Busy
	var full *limit.Refusal
	switch {
	case errors.As(err, &no):
		return no
	case errors.Is(err, session.ErrCredentialFull):
		return &denied{labelCredential, err.Error(), 429, mqtt.QuotaExceeded, retryTime()}
	case errors.As(err, &busy):
		return &denied{labelRate, "too many devices connect at once", 503, mqtt.ConnectionRateExceeded, busy.RetryAfter}
	case !errors.As(err, &full):
		return nil
	case full == limit.NodeFull:
		return &denied{full.Label, full.Reason, 503, mqtt.QuotaExceeded, retryTime()}
	}
	return &denied{full.Label, full.Reason, 429, mqtt.QuotaExceeded, retryTime()}
}

func denyForMemory() *denied {
	return &denied{labelMemory, "the node is short of memory", 503, mqtt.ServerBusy, retryTime()}
}

func denyForHandshakes() *denied {
	return &denied{labelUnverified, "the handshakes under way hold too much", 503, mqtt.ServerBusy, retryTime()}
}

func denyForTime() *denied {
	return &denied{labelRateTime, "too many devices connect at once: the turn did not come in time", 503, mqtt.ConnectionRateExceeded, retryTime()}
}

// seconds is the delay, in whole ones.
func (d *denied) seconds() string {
	return strconv.Itoa(int((d.after + time.Second - 1) / time.Second))
}

// http is the answer to a handshake, RFC 9110 §10.2.3 and RFC 6585 §4.
func (d *denied) http() *websocket.HTTPError {
	return &websocket.HTTPError{Status: d.status, Reason: sentence(d.reason), Header: []websocket.Field{{Name: "Retry-After", Value: d.seconds()}}}
}

// end is the answer to a CONNECT.
func (d *denied) end() *mqttEnd {
	return &mqttEnd{wire.CloseBusy.Because(fmt.Sprintf("%s; retry after %ss", d.reason, d.seconds())), d.code}
}

// count notes a denial.
func (s *shard) count(d *denied) *denied {
	s.refusals[d.label]++
	return d
}
