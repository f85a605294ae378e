package interop

import (
	"net"
	"strconv"
)

// The versions of the protocol, as option -V has them.
const (
	mqtt311 = "mqttv311"
	mqtt5   = "mqttv5"
)

// mosquitto is Debian's command line client, over TCP. The publisher of 2.0.11 gives up if
// it has no connection while it reads its input, and its subscriber drops a message of QoS 2
// if it cannot write the PUBCOMP. So neither survives cuts at every byte with QoS 2.
func mosquitto(version string) client {
	return programs{
		leavesWill: version == mqtt5,
		givesUp:    true,
		subscriber: func(s subscription) []string {
			line := append(s.mosquitto("mosquitto_sub", version), "-d", "-F", "%j",
				"-t", s.filter, "-q", strconv.Itoa(s.qos))
			if version == mqtt5 { // 2.0.11 counts a message that arrives again after a cut twice
				line = append(line, "-D", "connect", "receive-maximum", "1000")
			}
			if w := s.will; w != nil {
				line = append(line, "--will-topic", w.Topic, "--will-payload", w.Payload, "--will-qos", strconv.Itoa(w.QoS))
			}
			return append([]string{"stdbuf", "-oL"}, line...) // otherwise it buffers its output until a message arrives
		},
		publisher: func(p publication) []string {
			line := append(p.mosquitto("mosquitto_pub", version), "-t", p.message.Topic, "-q", strconv.Itoa(p.message.QoS))
			if p.message.Retain == 1 {
				line = append(line, "-r")
			}
			line = append(line, p.message.Properties.mosquitto()...)
			if len(p.payloads) == 1 && p.payloads[0] == "" {
				return append(line, "-n") // -l skips empty lines
			}
			return append(line, "-l")
		},
	}
}

// mosquitto returns the part of the command line that both programs have.
func (s *session) mosquitto(program, version string) []string {
	host, port, _ := net.SplitHostPort(s.addr)
	line := []string{program, "-V", version, "-h", host, "-p", port, "-i", s.id}
	switch {
	case !s.keep:
	case version == mqtt5:
		line = append(line, "-c", "-x", strconv.Itoa(lifetime))
	default:
		line = append(line, "-c")
	}
	return line
}

func (p *properties) mosquitto() (line []string) {
	add := func(name string, values ...string) {
		if values[len(values)-1] != "" {
			line = append(append(line, "-D", "publish", name), values...)
		}
	}
	add("response-topic", p.ResponseTopic)
	add("correlation-data", p.CorrelationData)
	add("content-type", p.ContentType)
	for name, value := range p.User {
		add("user-property", name, value)
	}
	return line
}
