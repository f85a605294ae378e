package feed

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// outcome is what became of a record.
type outcome uint8

const (
	made     outcome = iota
	filtered         // where left it out
	dead             // nothing can be made of it
)

// maker makes something of records. One goroutine at a time calls make.
type maker struct {
	// Static after newMaker.
	name           string
	config         Config
	route          *route.Route
	node           Node
	topic, filter  route.Template
	device, method route.Template
	view           route.View // owned by the caller of make
}

// newMaker parses the templates.
func newMaker(o *SourceOptions) (*maker, error) {
	m := &maker{name: o.Name, config: o.Config, route: o.Route, node: o.Node, view: route.View{Node: o.Number}}
	for _, t := range []struct {
		key, text string
		to        *route.Template
	}{
		{"publish.topic", o.Config.Publish.Topic, &m.topic},
		{"broadcast.topic", o.Config.Broadcast.Topic, &m.topic},
		{"broadcast.filter", o.Config.Broadcast.Filter, &m.filter},
		{"command.device", o.Config.Command.Device, &m.device},
		{"command.method", o.Config.Command.Method, &m.method},
	} {
		if t.text == "" {
			continue
		}
		var err error
		if *t.to, err = route.ParseTemplate(t.text); err != nil {
			return nil, fmt.Errorf("%s: %w", t.key, err)
		}
	}
	return m, nil
}

// make makes of a record what the configuration says. It calls done once, from any goroutine: with nil when that is safe, or there is nothing to make;
// with dead and why nothing can be made; or with an error of the node, and then the record has to come again.
func (m *maker) make(ctx context.Context, r *Record, done func(outcome, error)) {
	v := &m.view
	v.Reset(&message.Message{
		Topic: r.Topic, Source: r.Key, Payload: r.Value, ContentType: r.ContentType, Properties: r.Properties, QoS: r.QoS,
		Time: cmp.Or(unixMilli(r.Time), time.Now().UnixMilli()), Retain: r.Retain, Expiry: r.Expiry,
	})
	keep, err := m.route.Apply(v)
	if err != nil {
		done(dead, err)
		return
	}
	if !keep {
		done(filtered, nil)
		return
	}
	begin := m.publication
	switch {
	case m.config.Command != (Command{}):
		begin = m.command
	case m.config.Broadcast != (Broadcast{}):
		begin = m.broadcast
	}
	do, err := begin(r)
	if err != nil {
		done(dead, err)
		return
	}
	do(ctx, func(err error) {
		if isOfRecord(err) {
			done(dead, err)
			return
		}
		done(made, err)
	})
}

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// do does what was made of a record. It calls done once.
type do func(ctx context.Context, done func(error))

// publication makes a publication.
func (m *maker) publication(r *Record) (do, error) {
	p := &m.config.Publish
	to := r.To
	if p.Topic == "" && r.Err != nil {
		return nil, r.Err
	}
	if p.Topic != "" || to == "" {
		var err error
		if to, err = m.topic.Render(&m.view); err != nil {
			return nil, err
		}
	}
	out, err := m.message(r, to, p.QoS)
	if err != nil {
		return nil, err
	}
	out.Retain = r.Retain
	if p.Retain != "" {
		out.Retain = p.Retain == "true"
	}
	return func(_ context.Context, done func(error)) { m.node.Publish(out, done) }, nil
}

// broadcast makes a broadcast.
func (m *maker) broadcast(r *Record) (do, error) {
	to, err := m.topic.Render(&m.view)
	if err != nil {
		return nil, err
	}
	out, err := m.message(r, to, m.config.Broadcast.QoS)
	if err != nil {
		return nil, err
	}
	filter, err := m.filter.Render(&m.view)
	if err != nil {
		return nil, err
	}
	if filter == everyDevice {
		filter = ""
	} else if err := topic.ValidateFilter(filter, m.node.Topics); err != nil {
		return nil, err
	}
	return func(ctx context.Context, done func(error)) { m.node.Broadcast(ctx, out, filter, done) }, nil
}

// message makes the message of a publication or a broadcast.
func (m *maker) message(r *Record, to, qos string) (*message.Message, error) {
	if err := topic.ValidateName(to, m.node.Topics); err != nil {
		return nil, err
	}
	if to[0] == '$' {
		return nil, fmt.Errorf("topic %q starts with $: these topics are the gateway's own", to)
	}
	payload, contentType, err := m.view.Encoded()
	if err != nil {
		return nil, err
	}
	if m.node.MaxPayload > 0 && len(payload) > m.node.MaxPayload {
		return nil, fmt.Errorf("the payload has %d bytes, which is more than api.max_payload", len(payload))
	}
	q := r.QoS
	if qos != "" {
		q = message.QoS(qos[0] - '0')
	}
	return &message.Message{
		Topic: to, Payload: payload, ContentType: contentType, Properties: r.Properties, QoS: q, Expiry: r.Expiry, Time: time.Now().UnixMilli(),
		Trace: message.TraceOf(r.Properties), Origin: message.Origin{Via: message.ViaSource}, Debtor: message.BackendDebtor("source " + m.name),
	}, nil
}

// command makes a command.
func (m *maker) command(r *Record) (do, error) {
	device, err := m.device.Render(&m.view)
	if err == nil {
		err = topic.ValidateDevice(device)
	}
	if err != nil {
		return nil, err
	}
	method, err := m.method.Render(&m.view)
	if err == nil {
		err = validMethod(method)
	}
	if err != nil {
		return nil, err
	}
	payload, contentType, err := m.view.Encoded()
	if err != nil {
		return nil, err
	}
	if most := m.node.Commands.MaxPayload; len(payload) > most {
		return nil, fmt.Errorf("the payload has %d bytes, which is more than commands.max_payload", len(payload))
	}
	request := &command.Request{
		Device: device, Method: method, Payload: payload, ContentType: contentType, Exclusive: m.config.Command.Exclusive, Key: m.key(r),
	}
	ttl := cmp.Or(m.config.Command.TTL, m.node.Commands.TTL)
	return func(ctx context.Context, done func(error)) { m.node.Command(ctx, request, ttl, done) }, nil
}

// mostMethod is the length of a method's name, in bytes.
const mostMethod = 128

func validMethod(method string) error {
	if method == "" || len(method) > mostMethod || strings.ContainsAny(method, "/+#") || strings.ContainsFunc(method, unicode.IsControl) || !utf8.ValidString(method) {
		return fmt.Errorf("%q cannot be a method: want one level of a topic, of up to %d bytes", method, mostMethod)
	}
	return nil
}

// mostKey is the length of a command's key, in bytes.
const mostKey = 128

// key returns the key of the command of a record: when the record comes again, it makes no second command.
func (m *maker) key(r *Record) string {
	if r.ID == "" {
		return ""
	}
	key := "source/" + m.name + "/" + r.ID + "/" + strconv.FormatInt(unixMilli(r.Time), 10)
	if len(key) > mostKey {
		sum := sha256.Sum256([]byte(key))
		key = "source/" + hex.EncodeToString(sum[:])
	}
	return key
}

// isOfRecord reports whether a node's error is about this record alone, so that it would be refused again.
func isOfRecord(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, command.ErrKeyUsed), errors.Is(err, command.ErrDeviceFull):
		return true
	case errors.Is(err, command.ErrFull), errors.Is(err, command.ErrBusy), errors.Is(err, command.ErrStore):
		return false
	}
	switch router.ReasonOf(err) {
	case router.QueueFull, router.Refused:
		return true
	}
	return false
}
