package mqttdiff

import (
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/longline/longline/internal/wire/mqtt"
)

// lax are rules that the oracle does not check, or that its server checks elsewhere. It may accept a packet that
// breaks one of them.
var lax = map[*mqtt.Error]string{
	mqtt.ErrSender:            "it decodes both directions alike",
	mqtt.ErrNotConnect:        "its server's business",
	mqtt.ErrSecondConnect:     "its server's business",
	mqtt.ErrLength:            "§1.5.5: four bytes at most; it takes any number of leading zeros",
	mqtt.ErrVarint:            "[MQTT-1.5.5-1]: it takes leading zeros",
	mqtt.ErrTrailing:          "§1.2: it does not look at what follows the last field",
	mqtt.ErrTruncated:         "§2.2.2.1: its properties may run over their length",
	mqtt.ErrPropertiesTooLong: "§2.2.2.1: as before; nor does it look at the length in a DISCONNECT of two bytes",
	mqtt.ErrPacketID:          "[MQTT-2.2.1-5]: it takes 0 in acknowledgements, and in a PUBLISH of a server",

	mqtt.ErrUTF8:          "[MQTT-3.1.3-12]: to it a user name is bytes",
	mqtt.ErrNull:          "[MQTT-3.1.3-12]: the same",
	mqtt.ErrWillQoS:       "[MQTT-3.1.2-11]: it does not look",
	mqtt.ErrPasswordAlone: "[3.1.1 MQTT-3.1.2-22]: it has the rules of 5",
	mqtt.ErrNoClientID:    "[3.1.1 MQTT-3.1.3-8]: its server's business",

	mqtt.ErrConnackFlags:     "[MQTT-3.2.2-1]: it does not look",
	mqtt.ErrSessionOfRefused: "[MQTT-3.2.2-6]: it does not look",
	mqtt.ErrNoTopic:          "§3.3.2.1: it validates publications of clients only",
	mqtt.ErrEmptyTopic:       "[MQTT-4.7.3-1]: nor does it look at response topics",
	mqtt.ErrTopicWildcard:    "[MQTT-3.3.2-2]: nor at topics of wills",
	mqtt.ErrTopicAlias:       "[MQTT-3.3.2-8]: clients only",
	mqtt.ErrResponseTopic:    "[MQTT-3.3.2-14]: it does not look",

	mqtt.ErrEmptyFilter:        "[MQTT-4.7.3-1]: its server's business",
	mqtt.ErrSubscriptionOption: "[MQTT-3.8.3-5]: it drops reserved bits",
	mqtt.ErrRetainHandling:     "§3.8.3.1: it does not look",
	mqtt.ErrSharedNoLocal:      "[MQTT-3.8.3-4]: its server's business",
	mqtt.ErrNoCode:             "[MQTT-3.8.4-6]: it does not look",

	mqtt.ErrPropertyTwice:  "§2.2.2.2: the last one wins",
	mqtt.ErrPropertyBool:   "§2.2.2.2: it keeps any byte",
	mqtt.ErrReceiveMaximum: "§3.1.2.11.3: it takes 0 for absent",
	mqtt.ErrMaximumPacket:  "§3.1.2.11.4: the same",
	mqtt.ErrAuthData:       "§3.1.2.11.10: its server's business",
	mqtt.ErrAuthMethod:     "§3.15.2.2.2: its server's business",
	mqtt.ErrSubscriptionID: "§3.8.2.1.2: it takes 0",
	mqtt.ErrServersExpiry:  "[MQTT-3.14.2-2]: it decodes both directions alike",

	mqtt.ErrConnackCode:    "[MQTT-3.2.2-8]: it checks few reason codes, none by sender",
	mqtt.ErrPubackCode:     "[MQTT-3.4.2-1]",
	mqtt.ErrPubrecCode:     "[MQTT-3.5.2-1]",
	mqtt.ErrPubrelCode:     "[MQTT-3.6.2-1]",
	mqtt.ErrPubcompCode:    "[MQTT-3.7.2-1]",
	mqtt.ErrSubackCode:     "[MQTT-3.9.3-2]",
	mqtt.ErrUnsubackCode:   "[MQTT-3.11.3-2]",
	mqtt.ErrDisconnectCode: "[MQTT-3.14.2-1]",
	mqtt.ErrAuthCode:       "[MQTT-3.15.2-1]",
}

// excused reports whether the oracle may accept a packet of type t although it breaks the rule.
func excused(rule *mqtt.Error, t mqtt.Type) bool {
	if rule == mqtt.ErrUTF8 || rule == mqtt.ErrNull {
		return t == mqtt.Connect
	}
	return lax[rule] != ""
}

// strict returns why the oracle refuses a legal packet, or "" if no reason is known.
func strict(v mqtt.Version, p *mqtt.Packet, err error) string {
	switch c := &p.Connect; {
	case p.Type == mqtt.Connect && c.HasWill && len(c.Will.Payload) == 0 && err == packets.ErrProtocolViolationWillFlagNoPayload:
		return "§3.1.3.4: the will payload is binary data, which may be empty"
	case p.Type == mqtt.Connect && c.HasPassword && len(c.Password) == 0 && err == packets.ErrProtocolViolationFlagNoPassword:
		return "§3.1.3.6: the password is binary data, which may be empty"
	case p.Type == mqtt.Auth && p.Reason == mqtt.Success && !p.Properties.Has(mqtt.PropAuthMethod):
		return "§3.15.2.1: an AUTH of Success without properties has no bytes"
	case v == mqtt.V3 && err == packets.ErrMalformedFlags:
		return "MQTT 3.1 §3.6, §3.8, §3.10: DUP is legal"
	}
	return ""
}

// misread returns why the oracle reads wrong fields, or "" if no reason is known.
func misread(p *packets.Packet) string {
	if p.FixedHeader.Type == packets.Disconnect && p.ProtocolVersion == 5 && p.FixedHeader.Remaining == 1 {
		return "§3.14.2.1: a DISCONNECT of one byte has a reason code; it reads Success"
	}
	return ""
}
