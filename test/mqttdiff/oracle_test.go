// Package mqttdiff compares internal/wire/mqtt with another codec, mochi-mqtt's packets. It is
// a module of its own, so that the gateway does not depend on a server.
package mqttdiff

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"
)

var errShort = errors.New("the packet is not complete")

// oracle reads one packet as mochi-mqtt's server does, and validates it. n is its length.
func oracle(v uint8, fromServer bool, b []byte) (p *packets.Packet, n int, err error) {
	defer func() { // mochi panics on a SUBSCRIBE of 5 that ends after a filter
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	p = &packets.Packet{ProtocolVersion: v}
	if len(b) == 0 {
		return nil, 0, errShort
	}
	if err := p.FixedHeader.Decode(b[0]); err != nil {
		return nil, 0, err
	}
	r := bytes.NewReader(b[1:])
	p.FixedHeader.Remaining, _, err = packets.DecodeLength(r)
	if err != nil || r.Len() < p.FixedHeader.Remaining {
		return nil, 0, errShort
	}
	header := len(b) - r.Len()
	n = header + p.FixedHeader.Remaining
	if err := read(p, b[header:n]); err != nil {
		return nil, n, err
	}
	if code := validate(p, fromServer); code != packets.CodeSuccess {
		return nil, n, code
	}
	return p, n, nil
}

func read(p *packets.Packet, body []byte) error {
	switch p.FixedHeader.Type {
	case packets.Connect:
		return p.ConnectDecode(body)
	case packets.Connack:
		return p.ConnackDecode(body)
	case packets.Publish:
		return p.PublishDecode(body)
	case packets.Puback:
		return p.PubackDecode(body)
	case packets.Pubrec:
		return p.PubrecDecode(body)
	case packets.Pubrel:
		return p.PubrelDecode(body)
	case packets.Pubcomp:
		return p.PubcompDecode(body)
	case packets.Subscribe:
		return p.SubscribeDecode(body)
	case packets.Suback:
		return p.SubackDecode(body)
	case packets.Unsubscribe:
		return p.UnsubscribeDecode(body)
	case packets.Unsuback:
		return p.UnsubackDecode(body)
	case packets.Disconnect:
		return p.DisconnectDecode(body)
	case packets.Auth:
		return p.AuthDecode(body)
	case packets.Pingreq, packets.Pingresp:
		return nil
	}
	return packets.ErrNoValidPacketAvailable
}

func validate(p *packets.Packet, fromServer bool) packets.Code {
	switch p.FixedHeader.Type {
	case packets.Connect:
		return p.ConnectValidate()
	case packets.Publish:
		if !fromServer { // a server's PUBLISH may have subscription identifiers
			return p.PublishValidate(65_535)
		}
	case packets.Subscribe:
		return p.SubscribeValidate()
	case packets.Unsubscribe:
		return p.UnsubscribeValidate()
	case packets.Auth:
		return p.AuthValidate()
	}
	return packets.CodeSuccess
}
