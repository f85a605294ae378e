package file

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
)

// target implements pump.Target.
type target struct {
	// Static after construction.
	config Config
	aside  *aside

	// writing is held by the lane that writes, syncing by the one that syncs; it takes writing for a moment.
	syncing sync.Mutex
	writing sync.Mutex

	// Guarded by writing.
	out    output
	closed bool
	buffer []byte
}

// Open opens the target; the file is opened when the first messages come.
func Open(c Config, o pump.Options) (pump.Target, error) {
	c = c.WithDefaults()
	return &target{config: c, aside: newAside(c, o.Log), out: output{config: c}}, nil
}

// Prepare implements pump.Target.
func (t *target) Prepare(v *route.View, r *pump.Record) (err error) {
	payload, contentType, err := v.Encoded()
	if err != nil {
		return err
	}
	r.ContentType = contentType
	switch t.config.Content {
	case Message:
		r.Value, err = pump.Object(v)
		r.Value = append(r.Value, '\n')
	case Payload:
		r.Value, err = payloadLine(payload)
	default:
		r.Value = append(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+len(payload)), uint64(len(payload))), payload...)
	}
	return err
}

// errBreaks refuses a payload that would be more than one line.
var errBreaks = errors.New("content: the payload has line breaks and is not JSON: want content delimited or message")

func payloadLine(payload []byte) ([]byte, error) {
	if !bytes.ContainsAny(payload, "\n\r") {
		return append(append(make([]byte, 0, len(payload)+1), payload...), '\n'), nil
	}
	var b bytes.Buffer
	if json.Compact(&b, payload) != nil {
		return nil, errBreaks
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// Send implements pump.Target. Lanes that write while another one syncs share the next sync.
func (t *target) Send(_ context.Context, records []*pump.Record) (done int, err error) {
	end, err := t.write(records)
	if err == nil {
		err = t.sync(end)
	}
	if err != nil {
		return 0, err
	}
	return len(records), nil
}

// keptBuffer is the largest buffer that is kept.
const keptBuffer = 4 << 20

// write writes records behind those that are there, and returns where they end.
func (t *target) write(records []*pump.Record) (end position, err error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.closed {
		return end, os.ErrClosed
	}
	buffer := t.buffer[:0]
	for _, r := range records {
		buffer = append(buffer, r.Value...)
	}
	if t.buffer = nil; cap(buffer) <= keptBuffer {
		t.buffer = buffer
	}
	fresh, err := t.out.ready(time.Now())
	if fresh {
		t.aside.tidy()
	}
	if err != nil {
		return end, err
	}
	return t.out.append(buffer)
}

// sync returns when the file is on disk up to end.
func (t *target) sync(end position) error {
	t.syncing.Lock()
	defer t.syncing.Unlock()
	t.writing.Lock()
	file, upTo, err := t.out.unsafe(end)
	t.writing.Unlock()
	if file == nil || err != nil {
		return err
	}
	err = file.Sync()
	t.writing.Lock()
	defer t.writing.Unlock()
	return t.out.synced(upTo, err)
}

// Close implements pump.Target.
func (t *target) Close() {
	t.syncing.Lock()
	defer t.syncing.Unlock()
	t.writing.Lock()
	defer t.writing.Unlock()
	t.closed = true
	t.out.close()
	t.aside.close()
}
