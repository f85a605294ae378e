package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// exported is a line of an export. Which fields are there depends on Type.
type exported struct {
	Type    string   `json:"type"` // session, subscription, queued, retained, or value
	Device  string   `json:"device,omitempty"`
	Expiry  string   `json:"expiry,omitempty"` // how long the session outlives its connection
	Left    string   `json:"left,omitempty"`   // when the device left
	Missed  uint64   `json:"missed,omitempty"`
	Filter  string   `json:"filter,omitempty"` // of a subscription
	Will    *content `json:"will,omitempty"`
	Number  uint64   `json:"number,omitempty"` // of a queued message; ascending per device
	QoS     int      `json:"qos,omitempty"`
	Expires string   `json:"expires,omitempty"`
	Message *content `json:"message,omitempty"`
	Space   int      `json:"space,omitempty"`
	Key     string   `json:"key,omitempty"`
	Value   []byte   `json:"value,omitempty"`
}

// content is a message.
type content struct {
	ID          uint64             `json:"id,omitempty"`
	Topic       string             `json:"topic"`
	Payload     []byte             `json:"payload"` // base64
	ContentType string             `json:"content_type,omitempty"`
	Properties  []exportedProperty `json:"properties,omitempty"`
	Source      string             `json:"source,omitempty"`
	Time        string             `json:"time,omitempty"`
	Expires     string             `json:"expires,omitempty"`
}

type exportedProperty struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Export writes what is kept in a store's directory, which no process may use: a line of JSON for each session, subscription, queued message, retained
// message and value. Nothing in the directory changes. What cannot be read is told.
func Export(path string, to io.Writer, tell func(Finding)) (err error) {
	lock, err := lockOnly(path)
	if err != nil {
		return err
	}
	o := &offline{path: path, lock: lock}
	defer func() { err = errors.Join(err, o.close()) }()
	if err := readVersion(path); err != nil {
		return err
	}
	if o.second, err = lookForSecond(path); err != nil {
		return err
	}
	if o.journal, o.found, err = o.view("journal"); err != nil {
		return err
	}
	if o.state, err = openReadOnly(filepath.Join(path, "state")); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if err := fits(o.state.place, o.found); err != nil {
		return err
	}
	b := &batch{b: o.state.db.NewIndexedBatch(), bounds: new(store.RetainedLimits)} // the state, with the operations behind it, which are in memory
	defer b.close()
	err = eachRecord(o.journal, o.state.place, func(rec journal.Record) error {
		op, err := store.ParseOp(rec.Data)
		if err != nil {
			tell(Finding{"journal", fmt.Sprintf("operation %d: %v", rec.Place, err), true})
			return nil
		}
		b.add(&op, rec.Data)
		return nil
	}, func(g *journal.Gap) {
		tell(Finding{"journal", spanIs(g.From, g.To) + " spoilt", true})
	})
	if err != nil {
		return err
	}
	lines := json.NewEncoder(to)
	lines.SetEscapeHTML(false)
	for _, prefix := range []string{"r/", "s/", "q/", "t/", "v/"} {
		err := eachOf(b.b, prefix, func(key, value []byte) error {
			op, err := store.ParseOp(bytes.Clone(value))
			if err == nil && op.Kind == store.OpRetained {
				op, err = wholeOf(b, op.Message.Topic)
			}
			if err != nil {
				tell(Finding{"state", fmt.Sprintf("the %s: %v", about(key), err), true})
				return nil
			}
			return lines.Encode(exportOp(&op))
		})
		if err != nil {
			return fmt.Errorf("state: %w", err)
		}
	}
	return nil
}

// wholeOf returns the operation of a large retained message.
func wholeOf(b *batch, topic string) (store.Op, error) {
	op, err := get(b.b, b.name("b/", topic))
	if err == nil && op.Message == nil {
		err = errors.New("it is not there, and its head is")
	}
	return op, err
}

func exportOp(op *store.Op) exported {
	switch op.Kind {
	case store.OpUpdate:
		r := op.Record
		e := exported{Type: "session", Device: op.Device, Expiry: r.Expiry.String(), Left: moment(r.Left), Missed: r.Missed}
		if r.Will != nil {
			e.Will = exportMessage(r.Will.Message)
		}
		return e
	case store.OpSubscribe:
		return exported{Type: "subscription", Device: op.Device, Filter: op.Subscription.Filter, QoS: int(op.Subscription.QoS)}
	case store.OpPush:
		return exported{Type: "queued", Device: op.Device, Number: op.Number, QoS: int(op.QoS), Expires: moment(op.Due), Message: exportMessage(op.Message)}
	case store.OpRetain:
		return exported{Type: "retained", QoS: int(op.Message.QoS), Message: exportMessage(op.Message)}
	case store.OpPut:
		return exported{Type: "value", Space: int(op.Space), Key: op.Key, Value: op.Value}
	}
	return exported{Type: fmt.Sprintf("operation of kind %d", op.Kind), Device: op.Device}
}

func exportMessage(m *message.Message) *content {
	c := &content{
		ID: m.ID, Topic: m.Topic, Payload: m.Payload, ContentType: m.ContentType, Source: m.Source,
		Time: moment(m.Time), Expires: moment(m.Expiry),
	}
	for _, p := range m.Properties {
		c.Properties = append(c.Properties, exportedProperty{p.Key, p.Value})
	}
	return c
}

// moment returns a time in Unix milliseconds as text; nothing for 0 and for never.
func moment(ms int64) string {
	if ms == 0 || ms > 1<<50 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
