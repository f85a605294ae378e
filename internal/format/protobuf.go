package format

import (
	"fmt"

	"github.com/longline/longline/internal/reload"
)

// protobufFormat is one message of a descriptor set in protobuf's wire format.
type protobufFormat struct {
	message     func() *protoMessage
	dropUnknown bool
}

// openProtobuf opens the format of a valid configuration.
func openProtobuf(c Config, o Options) (Format, error) {
	file, err := reload.Open(o.Watcher, c.Protobuf.DescriptorSet, func(set []byte) (*protoMessage, error) {
		return readProtobuf(set, c.Protobuf.Message)
	})
	if err != nil {
		return nil, fmt.Errorf("protobuf.descriptor_set: %w", err)
	}
	return &protobufFormat{file.Get, c.DropUnknown}, nil
}

func (f *protobufFormat) ContentType() string { return "application/x-protobuf" }

func (f *protobufFormat) Decode(t *Tree, data []byte) error {
	root := t.begin()
	d := protoDecoder{t, f.dropUnknown}
	err := d.message(f.message(), root, data)
	if err != nil {
		t.Reset()
	}
	t.slots = t.slots[:0]
	return err
}

func (f *protobufFormat) Encode(dst []byte, v Value) ([]byte, error) {
	e := protoEncoder{v.tree, len(dst), f.dropUnknown}
	out, err := e.message(dst, f.message(), v)
	if err != nil {
		return dst, err
	}
	return out, nil
}
