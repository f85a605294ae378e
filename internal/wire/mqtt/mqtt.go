// Package mqtt is a codec for the control packets of MQTT 3.1, 3.1.1 and 5, in both
// directions. It does no I/O and keeps no state of a session: it checks every rule that concerns one
// packet alone, and leaves the rules that need another packet to its caller.
//
// The flow: a client opens with CONNECT, and the server answers with CONNACK (in 5 after an
// exchange of AUTH, where the client names a method). Then either side publishes: a PUBLISH
// of QoS 0 has no answer, one of QoS 1 is answered by PUBACK, one of QoS 2 by PUBREC, PUBREL,
// PUBCOMP in turn. A client sends SUBSCRIBE and UNSUBSCRIBE, answered by SUBACK and UNSUBACK, and
// PINGREQ, answered by PINGRESP. DISCONNECT ends the connection; only in 5 a server may send it.
//
// Marks such as [MQTT-3.1.2-3] refer to the MQTT 5 OASIS standard of 2019-03-07; marks
// of MQTT 3.1.1 (2014-10-29) are written [3.1.1 MQTT-3.1.2-22]. Sections are those of MQTT 5.
//
// It leaves to the session: the limits of topics and filters; limits that were negotiated; and whether a payload
// that is marked as UTF-8 is UTF-8 (MQTT 5 §3.3.2.3.2 lets a receiver check it, and Longline does not).
package mqtt

// Version is the protocol level of a CONNECT. 0 means that no CONNECT has arrived yet.
type Version uint8

const (
	V3 Version = 3 // MQTT 3.1, "MQIsdp"
	V4 Version = 4 // MQTT 3.1.1
	V5 Version = 5 // MQTT 5
)

// Type is the kind of a control packet, §2.1.2.
type Type uint8

const (
	Connect     Type = iota + 1 // client to server, once, first
	Connack                     // server to client
	Publish                     // both ways
	Puback                      // both ways
	Pubrec                      // both ways
	Pubrel                      // both ways
	Pubcomp                     // both ways
	Subscribe                   // client to server
	Suback                      // server to client
	Unsubscribe                 // client to server
	Unsuback                    // server to client
	Pingreq                     // client to server
	Pingresp                    // server to client
	Disconnect                  // client to server; in 5 both ways
	Auth                        // 5 only, both ways
)

// form is what the fixed header of one type of packet must look like.
type form struct {
	name           string
	flags          byte   // the low four bits, of all but PUBLISH
	server, client bool   // which side may send it
	flagRule       *Error // what other flags break
}

var forms = [16]form{
	Connect:     {"CONNECT", 0, false, true, ErrFlags},
	Connack:     {"CONNACK", 0, true, false, ErrFlags},
	Publish:     {"PUBLISH", 0, true, true, nil},
	Puback:      {"PUBACK", 0, true, true, ErrFlags},
	Pubrec:      {"PUBREC", 0, true, true, ErrFlags},
	Pubrel:      {"PUBREL", 2, true, true, ErrPubrelFlags},
	Pubcomp:     {"PUBCOMP", 0, true, true, ErrFlags},
	Subscribe:   {"SUBSCRIBE", 2, false, true, ErrSubscribeFlags},
	Suback:      {"SUBACK", 0, true, false, ErrFlags},
	Unsubscribe: {"UNSUBSCRIBE", 2, false, true, ErrUnsubscribeFlags},
	Unsuback:    {"UNSUBACK", 0, true, false, ErrFlags},
	Pingreq:     {"PINGREQ", 0, false, true, ErrFlags},
	Pingresp:    {"PINGRESP", 0, true, false, ErrFlags},
	Disconnect:  {"DISCONNECT", 0, true, true, ErrDisconnectFlags},
	Auth:        {"AUTH", 0, true, true, ErrAuthFlags},
}

// String is the name of t as the specifications write it.
func (t Type) String() string {
	if t >= Connect && t <= Auth {
		return forms[t].name
	}
	return "reserved packet type"
}

// sends reports whether a peer, the server or a client, may send packets of type t in v.
func (t Type) sends(v Version, server bool) bool {
	switch {
	case v < V5 && (t == Auth || t == Disconnect && server):
		return false
	case server:
		return forms[t].server
	}
	return forms[t].client
}
