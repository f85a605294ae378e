package message

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/longline/longline/internal/protofield"
)

// A record is an encoded message, for stores, streams and the bus between nodes. It is
// one byte with the version, then fields in protobuf's wire format. Fields with zero values are left
// out, and a reader skips fields that it does not know, so that nodes of two versions can
// share records while a cluster is upgraded. The version changes only when an old reader would
// misunderstand a field that it knows.

// recordVersion is the first byte of a record.
const recordVersion = 1

// The fields of a record. A number is never reused for something else.
const (
	fieldID            protowire.Number = 1
	fieldTopic         protowire.Number = 2
	fieldPayload       protowire.Number = 3
	fieldContentType   protowire.Number = 4
	fieldProperty      protowire.Number = 5 // a pair, once per property
	fieldSource        protowire.Number = 6
	fieldTime          protowire.Number = 7
	fieldExpiry        protowire.Number = 8
	fieldQoS           protowire.Number = 9
	fieldRetain        protowire.Number = 10
	fieldKept          protowire.Number = 11
	fieldPayloadFormat protowire.Number = 12
	fieldResponseTopic protowire.Number = 13
	fieldCorrelation   protowire.Number = 14 // also when it is empty, which differs from absent
	fieldSubscription  protowire.Number = 15 // once per identifier
	fieldShare         protowire.Number = 16
	fieldNode          protowire.Number = 17
	fieldVia           protowire.Number = 18
	fieldTrace         protowire.Number = 19 // see Trace.append
	fieldAt            protowire.Number = 20

	fieldKey   protowire.Number = 1 // of a property
	fieldValue protowire.Number = 2
)

// ErrRecord is wrapped by every error of ParseRecord.
var ErrRecord = errors.New("message: bad record")

// AppendRecord appends the record of m to dst.
func AppendRecord(dst []byte, m *Message) []byte {
	dst = append(dst, recordVersion)
	dst = protofield.AppendNumber(dst, fieldID, m.ID)
	dst = protofield.AppendText(dst, fieldTopic, m.Topic)
	dst = protofield.AppendText(dst, fieldPayload, m.Payload)
	dst = protofield.AppendText(dst, fieldContentType, m.ContentType)
	for _, p := range m.Properties {
		dst = appendProperty(dst, p)
	}
	dst = protofield.AppendText(dst, fieldSource, m.Source)
	dst = protofield.AppendNumber(dst, fieldTime, uint64(m.Time))
	dst = protofield.AppendNumber(dst, fieldExpiry, uint64(m.Expiry))
	dst = protofield.AppendNumber(dst, fieldQoS, uint64(m.QoS))
	dst = protofield.AppendNumber(dst, fieldRetain, protowire.EncodeBool(m.Retain))
	dst = protofield.AppendNumber(dst, fieldKept, protowire.EncodeBool(m.Kept))
	dst = protofield.AppendNumber(dst, fieldPayloadFormat, uint64(m.PayloadFormat))
	if m.Request != nil {
		dst = protofield.AppendText(dst, fieldResponseTopic, m.Request.ResponseTopic)
		if m.Request.CorrelationData != nil {
			dst = protowire.AppendTag(dst, fieldCorrelation, protowire.BytesType)
			dst = protowire.AppendBytes(dst, m.Request.CorrelationData)
		}
	}
	if m.Delivery != nil {
		for _, id := range m.Delivery.Subscriptions {
			dst = protofield.AppendNumber(dst, fieldSubscription, uint64(id))
		}
		dst = protofield.AppendText(dst, fieldShare, m.Delivery.Share)
	}
	dst = protofield.AppendNumber(dst, fieldNode, uint64(m.Origin.Node))
	dst = protofield.AppendNumber(dst, fieldVia, uint64(m.Origin.Via))
	dst = protofield.AppendNumber(dst, fieldAt, m.At)
	if m.Trace != nil {
		dst = protowire.AppendTag(dst, fieldTrace, protowire.BytesType)
		dst = m.Trace.append(protowire.AppendVarint(dst, traceSize))
	}
	return dst
}

func appendProperty(dst []byte, p Property) []byte {
	size := func(s string) int {
		if s == "" {
			return 0
		}
		return protowire.SizeTag(fieldKey) + protowire.SizeBytes(len(s))
	}
	dst = protowire.AppendTag(dst, fieldProperty, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size(p.Key)+size(p.Value)))
	return protofield.AppendText(protofield.AppendText(dst, fieldKey, p.Key), fieldValue, p.Value)
}

// ParseRecord decodes a record into an owned message, whose strings and slices are views of p:
// nobody may change p any more. An error wraps ErrRecord and says what is wrong at which byte.
func ParseRecord(p []byte) (*Message, error) {
	if len(p) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrRecord)
	}
	if p[0] != recordVersion {
		return nil, fmt.Errorf("%w: it has version %d, this program knows version %d", ErrRecord, p[0], recordVersion)
	}
	m := new(Message)
	r := fieldReader{rest: p[1:], at: 1}
	for len(r.rest) > 0 {
		if err := r.next(); err != nil {
			return nil, err
		}
		if err := m.setField(&r); err != nil {
			return nil, err
		}
	}
	switch {
	case m.ID == 0:
		return nil, fmt.Errorf("%w: it has no ID", ErrRecord)
	case m.Topic == "":
		return nil, fmt.Errorf("%w: it has no topic", ErrRecord)
	}
	m.Debtor = DebtorOf(m.Source, 0)
	return m, nil
}

// fieldReader iterates over the fields of a record, or of a message within it.
type fieldReader struct {
	rest []byte
	at   int // the byte of the record at which rest begins

	// The field that next has read.
	protofield.Field
	start int // the byte at which the field begins
}

// next reads the next field.
func (r *fieldReader) next() error {
	r.start = r.at
	n := r.Read(r.rest)
	switch {
	case n < 0 && r.Num == 0:
		return fmt.Errorf("%w: byte %d: want a field", ErrRecord, r.start)
	case n < 0:
		return r.fail(errCutOff)
	}
	r.rest, r.at = r.rest[n:], r.at+n
	return nil
}

// fail returns an error for the field that next has read.
func (r *fieldReader) fail(what error) error {
	return fmt.Errorf("%w: byte %d: field %d %w", ErrRecord, r.start, r.Num, what)
}

var (
	errCutOff    = errors.New("is truncated")
	errFieldType = errors.New("has the wrong type")
	errUTF8      = errors.New("is not UTF-8")
	errQoS       = errors.New("is not a QoS")
	errTrace     = errors.New("is not a trace")
)

// setField sets the field that r has read. It ignores unknown fields, which later versions have.
func (m *Message) setField(r *fieldReader) error {
	var err error
	switch r.Num {
	case fieldID, fieldTime, fieldExpiry, fieldQoS, fieldRetain, fieldKept, fieldPayloadFormat, fieldSubscription, fieldNode, fieldVia, fieldAt:
		if err = r.want(protowire.VarintType); err == nil {
			err = m.setNumber(r.Num, r.Number)
		}
	case fieldProperty:
		return m.addProperty(r)
	case fieldTopic, fieldPayload, fieldContentType, fieldSource, fieldResponseTopic, fieldCorrelation, fieldShare, fieldTrace:
		if err = r.want(protowire.BytesType); err == nil {
			err = m.setBytes(r.Num, slices.Clip(r.Bytes))
		}
	}
	if err != nil {
		return r.fail(err)
	}
	return nil
}

// want returns an error if the field has another type.
func (r *fieldReader) want(t protowire.Type) error {
	if r.Type != t {
		return errFieldType
	}
	return nil
}

func (m *Message) setNumber(num protowire.Number, v uint64) error {
	switch num {
	case fieldID:
		m.ID = v
	case fieldTime:
		m.Time = int64(v)
	case fieldExpiry:
		m.Expiry = int64(v)
	case fieldQoS:
		if v > uint64(ExactlyOnce) {
			return errQoS
		}
		m.QoS = QoS(v)
	case fieldRetain:
		m.Retain = protowire.DecodeBool(v)
	case fieldKept:
		m.Kept = protowire.DecodeBool(v)
	case fieldPayloadFormat:
		m.PayloadFormat = uint8(v)
	case fieldSubscription:
		d := m.delivery()
		d.Subscriptions = append(d.Subscriptions, uint32(v))
	case fieldNode:
		m.Origin.Node = uint16(v)
	case fieldVia:
		m.Origin.Via = Via(v)
	case fieldAt:
		m.At = v
	}
	return nil
}

func (m *Message) setBytes(num protowire.Number, p []byte) (err error) {
	switch num {
	case fieldTopic:
		m.Topic, err = text(p)
	case fieldPayload:
		m.Payload = p
	case fieldContentType:
		m.ContentType, err = text(p)
	case fieldSource:
		m.Source, err = text(p)
	case fieldResponseTopic:
		m.request().ResponseTopic, err = text(p)
	case fieldCorrelation:
		m.request().CorrelationData = p
	case fieldShare:
		m.delivery().Share, err = text(p)
	case fieldTrace:
		m.Trace, err = parseTrace(p)
	}
	return err
}

// request returns m.Request, which it adds if there is none.
func (m *Message) request() *Request {
	if m.Request == nil {
		m.Request = new(Request)
	}
	return m.Request
}

// delivery returns m.Delivery, which it adds if there is none.
func (m *Message) delivery() *Delivery {
	if m.Delivery == nil {
		m.Delivery = new(Delivery)
	}
	return m.Delivery
}

// addProperty adds the property that r has read.
func (m *Message) addProperty(r *fieldReader) error {
	if err := r.want(protowire.BytesType); err != nil {
		return r.fail(err)
	}
	var p Property
	in := fieldReader{rest: r.Bytes, at: r.at - len(r.Bytes)}
	for len(in.rest) > 0 {
		err := in.next()
		if err != nil {
			return err
		}
		switch in.Num {
		case fieldKey:
			p.Key, err = text(in.Bytes)
		case fieldValue:
			p.Value, err = text(in.Bytes)
		}
		if err != nil {
			return in.fail(err)
		}
	}
	m.Properties = append(m.Properties, p)
	return nil
}

// text returns p as a string: a view of it.
func text(p []byte) (string, error) {
	if !utf8.Valid(p) {
		return "", errUTF8
	}
	return unsafeString(p), nil
}
