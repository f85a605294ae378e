package interop

import (
	"context"
	"testing"
)

// client is an MQTT client that people run. Its parts connect for themselves: a subscriber
// and a publisher are two devices.
type client interface {
	// subscribe returns when the broker has granted the subscription.
	subscribe(ctx context.Context, t *testing.T, s subscription) *subscriber
	// publish returns when the broker has acknowledged every payload, and fails the test when
	// that cannot be.
	publish(ctx context.Context, t *testing.T, p publication)
	// resumes tells whether the client itself keeps what a QoS promises wherever its
	// connections break.
	resumes(qos int) bool
}

// session is how a device connects.
type session struct {
	addr string // host:port of the broker, or of a proxy in front of it
	id   string
	keep bool     // the session outlives its connections
	will *message // MQTT 3.1.1 §3.1.2.5
}

// subscription is a device that subscribes to one filter.
type subscription struct {
	session
	filter string
	qos    int
}

// publication is a device that publishes message once for each of payloads, and leaves.
type publication struct {
	session
	message  message
	payloads []string
}

// message is what was published, or came: with the names that mosquitto_sub gives its parts
// in its JSON output, from which it is read.
type message struct {
	Topic      string     `json:"topic"`
	Payload    string     `json:"payload"`
	QoS        int        `json:"qos"`
	Retain     int        `json:"retain"` // 0 or 1
	Properties properties `json:"properties"`
}

// properties are those of MQTT 5 §3.3.2.3.
type properties struct {
	ResponseTopic   string            `json:"response-topic"`
	CorrelationData string            `json:"correlation-data"`
	ContentType     string            `json:"content-type"`
	User            map[string]string `json:"user-properties"`
}

// subscriber is a subscription that was granted.
type subscriber struct {
	messages chan message
	// leave ends the connection as the protocol wants, with a DISCONNECT.
	leave func()
	// leavesWill tells that its DISCONNECT asks for the will, MQTT 5 §3.14.2.1.
	leavesWill bool
}

// lifetime is the session expiry that devices of MQTT 5 ask for to keep theirs, in seconds.
const lifetime = 600
