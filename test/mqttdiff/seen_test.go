package mqttdiff

import (
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// fields are the fields of a packet that both codecs return, in the oracle's form.
type fields struct {
	header     packets.FixedHeader // without the length
	id         uint16
	topic      string
	payload    string
	reason     byte
	codes      string
	session    bool
	filters    []packets.Subscription
	connect    packets.ConnectParams // without its properties and slices
	username   string
	password   string
	will       string
	properties properties
	wills      properties
}

// properties are packets.Properties with strings instead of slices of bytes.
type properties struct {
	packets.Properties
	correlation, auth string
}

// seen returns what our codec read, in the oracle's form.
func seen(v mqtt.Version, p *mqtt.Packet) fields {
	f := fields{
		header:     packets.FixedHeader{Type: byte(p.Type), Dup: p.Dup, Qos: byte(p.QoS), Retain: p.Retain},
		id:         p.ID,
		topic:      p.Topic,
		payload:    string(p.Payload),
		reason:     byte(p.Reason),
		session:    p.SessionPresent,
		username:   p.Connect.Username,
		password:   string(p.Connect.Password),
		will:       string(p.Connect.Will.Payload),
		properties: seenProperties(&p.Properties),
		wills:      seenProperties(&p.Connect.Will.Properties),
	}
	switch p.Type {
	case mqtt.Pubrel, mqtt.Subscribe, mqtt.Unsubscribe:
		f.header.Qos = 1 // the oracle takes the fixed flags for a QoS
	case mqtt.Connack:
		if v < mqtt.V5 {
			f.reason = p.Reason.ConnackV3()
		}
	}
	for _, c := range p.Codes {
		f.codes += string(rune(c))
	}
	for _, s := range p.Subscriptions {
		f.filters = append(f.filters, packets.Subscription{Filter: s.Filter, Qos: byte(s.QoS), NoLocal: s.NoLocal,
			RetainAsPublished: s.RetainAsPublished, RetainHandling: s.RetainHandling})
	}
	for _, filter := range p.Filters {
		f.filters = append(f.filters, packets.Subscription{Filter: filter})
	}
	c := &p.Connect
	f.connect = packets.ConnectParams{ClientIdentifier: c.ClientID, WillTopic: c.Will.Topic, Keepalive: c.KeepAlive,
		PasswordFlag: c.HasPassword, UsernameFlag: c.HasUsername, WillQos: byte(c.Will.QoS), WillFlag: c.HasWill,
		WillRetain: c.Will.Retain, Clean: c.Clean}
	return f
}

// seenProperties returns the properties that our codec read, in the oracle's form.
func seenProperties(p *mqtt.Properties) properties {
	return properties{
		correlation: string(p.CorrelationData),
		auth:        string(p.AuthData),
		Properties: packets.Properties{
			SubscriptionIdentifier: integers(p.SubscriptionIDs),
			User:                   pairs(p.User),
			ContentType:            p.ContentType,
			ResponseTopic:          p.ResponseTopic,
			AssignedClientID:       p.AssignedClientID,
			AuthenticationMethod:   p.AuthMethod,
			ResponseInfo:           p.ResponseInfo,
			ServerReference:        p.ServerReference,
			ReasonString:           p.ReasonString,
			MessageExpiryInterval:  p.MessageExpiry,
			SessionExpiryInterval:  p.SessionExpiry,
			WillDelayInterval:      p.WillDelay,
			MaximumPacketSize:      p.MaximumPacket,
			ServerKeepAlive:        p.ServerKeepAlive,
			ReceiveMaximum:         p.ReceiveMaximum,
			TopicAliasMaximum:      p.TopicAliasMaximum,
			TopicAlias:             p.TopicAlias,
			PayloadFormat:          octet(p.TextPayload),
			RequestProblemInfo:     octet(p.RequestProblem),
			RequestResponseInfo:    octet(p.RequestResponse),
			MaximumQos:             byte(p.MaximumQoS),
			RetainAvailable:        octet(p.RetainAvailable),
			WildcardSubAvailable:   octet(p.WildcardAvailable),
			SubIDAvailable:         octet(p.SubscriptionIDsAvailable),
			SharedSubAvailable:     octet(p.SharedAvailable),

			PayloadFormatFlag:         p.Has(mqtt.PropPayloadFormat),
			SessionExpiryIntervalFlag: p.Has(mqtt.PropSessionExpiry),
			ServerKeepAliveFlag:       p.Has(mqtt.PropServerKeepAlive),
			RequestProblemInfoFlag:    p.Has(mqtt.PropRequestProblem),
			TopicAliasFlag:            p.Has(mqtt.PropTopicAlias),
			MaximumQosFlag:            p.Has(mqtt.PropMaximumQoS),
			RetainAvailableFlag:       p.Has(mqtt.PropRetainAvailable),
			WildcardSubAvailableFlag:  p.Has(mqtt.PropWildcardAvailable),
			SubIDAvailableFlag:        p.Has(mqtt.PropSubscriptionIDsAvailable),
			SharedSubAvailableFlag:    p.Has(mqtt.PropSharedAvailable),
		},
	}
}

func octet(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func integers(ids []uint32) (out []int) {
	for _, id := range ids {
		out = append(out, int(id))
	}
	return out
}

func pairs(user []message.Property) (out []packets.UserProperty) {
	for _, u := range user {
		out = append(out, packets.UserProperty{Key: u.Key, Val: u.Value})
	}
	return out
}

// seenByOracle returns what the oracle read.
func seenByOracle(p *packets.Packet) fields {
	f := fields{
		header:     p.FixedHeader,
		id:         p.PacketID,
		topic:      p.TopicName,
		payload:    string(p.Payload),
		reason:     p.ReasonCode,
		session:    p.SessionPresent && p.ProtocolVersion > 3, // which 3.1 does not have
		connect:    p.Connect,
		username:   string(p.Connect.Username),
		password:   string(p.Connect.Password),
		will:       string(p.Connect.WillPayload),
		properties: propertiesOf(p.Properties),
		wills:      propertiesOf(p.Connect.WillProperties),
	}
	f.header.Remaining = 0
	for _, c := range p.ReasonCodes {
		f.codes += string(rune(c))
	}
	for _, s := range p.Filters {
		s.Identifier = 0 // in the properties
		f.filters = append(f.filters, s)
	}
	c := &f.connect
	c.WillProperties, c.Password, c.Username, c.ProtocolName, c.WillPayload = packets.Properties{}, nil, nil, nil, nil
	return f
}

func propertiesOf(p packets.Properties) properties {
	out := properties{Properties: p, correlation: string(p.CorrelationData), auth: string(p.AuthenticationData)}
	out.CorrelationData, out.AuthenticationData = nil, nil
	return out
}
