package wire

import (
	"fmt"
	"unicode/utf8"

	"github.com/longline/longline/internal/message"
)

// check returns an error when p breaks a rule that involves several fields.
func (p *Packet) check() error {
	if !p.Op.known() {
		return p.breaks("op missing")
	}
	for rest := forms[p.Op].required; rest != 0; rest &= rest - 1 {
		if f := rest.first(); p.empty(f) {
			return p.breaks("%s missing", fields[f].name)
		}
	}
	switch {
	case p.ID == 0 && (p.Op == Pub || p.Op == Msg) && p.Message.QoS > message.AtMostOnce:
		return p.breaks("id missing: qos 1 needs it")
	case p.Op == Reply && p.Err.Code != "" && (len(p.Payload) > 0 || p.ContentType != ""):
		return p.breaks("error excludes a payload")
	}
	return nil
}

// empty reports whether the required field f of p is absent.
func (p *Packet) empty(f field) bool {
	switch fields[f].kind {
	case kindNumber:
		return p.number(f) == 0
	case kindFilters:
		return len(p.Filters) == 0
	default:
		return *p.text(f) == ""
	}
}

// checkEncodable returns an error when p breaks a rule or cannot be encoded. Zero values can be.
func (p *Packet) checkEncodable() error {
	if err := p.check(); err != nil {
		return err
	}
	for _, f := range forms[p.Op].fields {
		if !p.fits(f) {
			return p.breaks("%s does not fit: want %s", fields[f].name, fields[f].want)
		}
	}
	return nil
}

// fits reports whether the field f of p can be encoded: text is UTF-8, numbers are in range.
func (p *Packet) fits(f field) bool {
	switch fields[f].kind {
	case kindNumber:
		return p.number(f) <= fields[f].max
	case kindText:
		return utf8.ValidString(*p.text(f))
	case kindProps:
		for _, prop := range p.Message.Properties {
			if !utf8.ValidString(prop.Key) || !utf8.ValidString(prop.Value) {
				return false
			}
		}
	case kindFilters:
		for _, filter := range p.Filters {
			if !utf8.ValidString(filter) {
				return false
			}
		}
	case kindError:
		return utf8.ValidString(p.Err.Code) && utf8.ValidString(p.Err.Reason) &&
			(p.Err.Code != "" || p.Err.Reason == "")
	}
	return true
}

// breaks returns CloseContract with a reason that begins with the name of the packet.
func (p *Packet) breaks(format string, args ...any) *Close {
	return CloseContract.Because(p.Op.String() + ": " + fmt.Sprintf(format, args...))
}

// wants returns CloseContract for the field f, whose wrong value, shown, is at an offset of
// the frame.
func (p *Packet) wants(f field, shown string, offset int) *Close {
	return p.breaks("%s %.24s at byte %d: want %s", fields[f].name, shown, offset, fields[f].want)
}
