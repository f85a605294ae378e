package api

import (
	"errors"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// jsonCodec is JSON for people: field names as in gateway.proto, zeros shown,
// unknown fields refused.
type jsonCodec struct{ name string }

// jsonCodecs are under the names by which connect looks up the codec of JSON.
var jsonCodecs = []jsonCodec{{"json"}, {"json; charset=utf-8"}}

var errNotProto = errors.New("not a protobuf message")

func (c jsonCodec) Name() string { return c.name }

func (c jsonCodec) Marshal(v any) ([]byte, error) { return c.MarshalAppend(nil, v) }

// MarshalAppend appends to dst, which saves connect a copy.
func (jsonCodec) MarshalAppend(dst []byte, v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, errNotProto
	}
	return protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.MarshalAppend(dst, m)
}

func (jsonCodec) Unmarshal(b []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return errNotProto
	}
	if len(b) == 0 {
		return errors.New("the body is empty: want a JSON object")
	}
	return protojson.Unmarshal(b, m)
}
