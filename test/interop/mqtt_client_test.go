package interop

import (
	"context"
	"testing"
)

// client is a popular MQTT client. Each subscriber and each publisher is a device
// with a connection of its own.
type client interface {
	// subscribe returns when the broker has granted the subscription.
	subscribe(ctx context.Context, t *testing.T, s subscription) *subscriber
	// publish returns when the broker has acknowledged every payload, and fails the test if
	// it does not.
	publish(ctx context.Context, t *testing.T, p publication)
	// resumes reports whether the client keeps the promises of its QoS wherever its
	// connections break.
	resumes(qos int) bool
}

// session says how a device connects.
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

// message is a published or received message. Its fields have the names of mosquitto_sub's JSON
// output, from which it is read.
type message struct {
	Topic      string     `json:"topic"`
	Payload    string     `json:"payload"`
	QoS        int        `json:"qos"`
	Retain     int        `json:"retain"` // 0 or 1
	Properties properties `json:"properties"`
}

// properties are the properties of a PUBLISH, MQTT 5 §3.3.2.3.
type properties struct {
	ResponseTopic   string            `json:"response-topic"`
	CorrelationData string            `json:"correlation-data"`
	ContentType     string            `json:"content-type"`
	User            map[string]string `json:"user-properties"`
}

// subscriber is a subscription that was granted.
type subscriber struct {
	messages chan message
	// leave ends the connection with a DISCONNECT.
	leave func()
	// leavesWill reports whether the DISCONNECT asks for the will, MQTT 5 §3.14.2.1.
	leavesWill bool
}

// lifetime is the session expiry of MQTT 5 devices that keep their session, in seconds.
const lifetime = 600
