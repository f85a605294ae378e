package mqtt

// connect writes a CONNECT of version v, §3.1, whatever p.Connect.Version is.
func (w *writer) connect(v Version, p *Packet) {
	c := &p.Connect
	w.require(names[v] != "", ErrProtocolLevel)
	w.text(names[v])
	w.byte(byte(v))
	w.byte(w.connectFlags(c))
	w.uint16(c.KeepAlive)
	w.properties(v, &p.Properties, Connect)
	w.text(c.ClientID)
	if c.HasWill {
		w.properties(v, &c.Will.Properties, inWill)
		w.text(c.Will.Topic)
		w.binary(c.Will.Payload)
	}
	if c.HasUsername {
		w.text(c.Username)
	}
	if c.HasPassword {
		w.binary(c.Password)
	}
}

// connectFlags returns the connect flags, §3.1.2.3.
func (w *writer) connectFlags(c *Client) byte {
	flags := bit(c.Clean, flagClean) | bit(c.HasUsername, flagUsername) | bit(c.HasPassword, flagPassword)
	if c.HasWill {
		w.require(c.Will.QoS <= 2, ErrWillQoS3) // [MQTT-3.1.2-12]
		flags |= flagWill | byte(c.Will.QoS&3)<<3 | bit(c.Will.Retain, flagWillRetain)
	}
	return flags
}

// connack writes a CONNACK, §3.2.
func (w *writer) connack(v Version, p *Packet) {
	w.byte(bit(p.SessionPresent && v > V3, 1))
	if v == V5 {
		w.byte(byte(p.Reason))
	} else {
		w.byte(p.Reason.ConnackV3())
	}
	w.properties(v, &p.Properties, Connack)
}
