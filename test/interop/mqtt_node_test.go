package interop

import "encoding/json"

// nodeMQTT is the package mqtt from npm, over WebSocket, with the protocol level of its
// option protocolVersion.
func nodeMQTT(level int) client {
	line := func(command string, s *session, rest map[string]any) []string {
		options := map[string]any{
			"protocolVersion": level,
			"clientId":        s.id,
			"clean":           !s.keep,
		}
		if s.keep && level == 5 {
			options["properties"] = map[string]any{"sessionExpiryInterval": lifetime}
		}
		if w := s.will; w != nil {
			options["will"] = map[string]any{"topic": w.Topic, "payload": w.Payload, "qos": w.QoS}
		}
		rest["options"] = options
		text, _ := json.Marshal(rest) // cannot fail: strings, numbers and booleans
		return []string{"node", "node/mqtt.js", command, "ws://" + s.addr + "/mqtt", string(text)}
	}
	return programs{
		subscriber: func(s subscription) []string {
			return line("sub", &s.session, map[string]any{"filter": s.filter, "qos": s.qos})
		},
		publisher: func(p publication) []string {
			return line("pub", &p.session, map[string]any{"message": p.message})
		},
	}
}
