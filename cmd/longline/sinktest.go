package main

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/topic"
)

// SinkTest is longline sink test.
type SinkTest struct {
	Name    string `arg:"" help:"Name of the sink in the configuration."`
	Message string `placeholder:"FILE" xor:"message" help:"A message as longline stream read prints it, such as {\"topic\": \"device/m-7/telemetry\", \"source\": \"m-7\", \"payload\": {\"t\": 21.5}}; - is standard input."`
	Topic   string `placeholder:"TOPIC" xor:"message" help:"In place of a file: the topic of a message."`
	Payload string `placeholder:"TEXT" help:"And its payload."`
	Source  string `placeholder:"DEVICE" help:"And the device that published it."`

	Config string   `type:"existingfile" required:"" placeholder:"FILE" help:"Configuration file."`
	Set    []string `placeholder:"KEY=VALUE" sep:"none" help:"Set an option, as longline serve does. May be repeated."`
}

// Run prints what the sink would write of the message. It contacts nobody. A message that would become a dead letter is an error.
func (t *SinkTest) Run(console *Console) error {
	m, place, err := t.message(console.In)
	if err != nil {
		return err
	}
	serve := Serve{Config: t.Config, Set: t.Set, Data: "."} // nobody opens the directory, but streams want one
	c, err := serve.config(os.Environ())
	if err != nil {
		return err
	}
	one, ok := c.Sinks[t.Name]
	if !ok {
		return fmt.Errorf("%s: the configuration has no such sink", t.Name)
	}
	matches := func(filter string) bool { return topic.Match(filter, m.Topic) }
	if !slices.ContainsFunc(c.Streams[one.Stream].Filters, matches) {
		_, err = fmt.Fprintf(console.Out, "%s does not get this message: no filter of the stream %s matches its topic\n", t.Name, one.Stream)
		return err
	}
	parts, err := one.Open(t.Name, sink.Needs{Node: uint16(c.Node.Number), Watcher: new(reload.Watcher), Log: slog.New(slog.DiscardHandler), Offline: true})
	if err != nil {
		return fmt.Errorf("sinks.%s.%w", t.Name, err)
	}
	defer parts.Target.Close()
	v := &route.View{Node: uint16(c.Node.Number), Stream: one.Stream}
	v.Reset(m)
	v.Place = place
	r, err := prepare(parts, v)
	if err != nil {
		return fmt.Errorf("this message would be a dead letter: %w", err)
	}
	if r == nil {
		_, err = fmt.Fprintf(console.Out, "%s does not get this message: where is false\n", t.Name)
		return err
	}
	var out bytes.Buffer
	printRecord(&out, t.Name, one, r, v)
	_, err = console.Out.Write(out.Bytes())
	return err
}

// prepare makes the record of a message, or none if it is not for the sink. It asks no model.
func prepare(parts sink.Parts, v *route.View) (*pump.Record, error) {
	keep, err := parts.Route.Apply(v)
	if !keep || err != nil {
		return nil, err
	}
	m := v.Message()
	r := &pump.Record{Place: v.Place, Time: v.Time, Message: m, Key: cmp.Or(m.Source, m.Topic)}
	return r, parts.Target.Prepare(v, r)
}

// message returns the message of the flags, and its place.
func (t *SinkTest) message(in io.Reader) (*message.Message, uint64, error) {
	if t.Topic != "" {
		one := testMessage{Topic: t.Topic, Source: t.Source, Text: &t.Payload}
		return one.message()
	}
	if t.Payload != "" || t.Source != "" {
		return nil, 0, &exitError{exitUsage, errors.New("--payload and --source go with --topic: a file says all of its message")}
	}
	if t.Message == "" {
		return nil, 0, &exitError{exitUsage, errors.New("want a message: --message FILE, or --topic TOPIC --payload TEXT")}
	}
	if t.Message != "-" {
		file, err := os.Open(t.Message)
		if err != nil {
			return nil, 0, err
		}
		defer file.Close()
		in = file
	}
	const most = 16 << 20
	d := json.NewDecoder(io.LimitReader(in, most))
	d.DisallowUnknownFields()
	var one testMessage
	err := d.Decode(&one)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", t.Message, err)
	}
	m, place, err := one.message()
	if err != nil {
		err = fmt.Errorf("%s: %w", t.Message, err)
	}
	return m, place, err
}

// testMessage is a message in a file, in the form in which longline stream read prints one. It has one of three payloads, or none.
type testMessage struct {
	Place   uint64            `json:"place,string"`
	Topic   string            `json:"topic"`
	Payload json.RawMessage   `json:"payload"` // any JSON
	Text    *string           `json:"text"`    // any text
	Data    *[]byte           `json:"data"`    // any bytes, in base64
	Type    string            `json:"type"`    // content type
	QoS     uint8             `json:"qos"`
	Retain  bool              `json:"retain"`
	Time    int64             `json:"ts"` // Unix milliseconds
	Source  string            `json:"source"`
	Props   map[string]string `json:"props"`
}

// message returns the message, and its place in the stream.
func (t *testMessage) message() (*message.Message, uint64, error) {
	if t.Topic == "" {
		return nil, 0, errors.New("topic: is missing")
	}
	m := &message.Message{
		Topic: t.Topic, Source: t.Source, Payload: t.Payload, ContentType: t.Type, QoS: message.QoS(t.QoS), Kept: t.Retain,
		Time: cmp.Or(t.Time, time.Now().UnixMilli()), Origin: message.Origin{Via: message.ViaDevice},
	}
	given := 0
	if len(t.Payload) > 0 {
		m.ContentType = cmp.Or(m.ContentType, message.JSON)
		given++
	}
	if t.Text != nil {
		m.Payload = []byte(*t.Text)
		given++
	}
	if t.Data != nil {
		m.Payload = *t.Data
		given++
	}
	if given > 1 {
		return nil, 0, errors.New("want one of payload, text and data")
	}
	for key, value := range t.Props {
		m.Properties = append(m.Properties, message.Property{Key: key, Value: value})
	}
	slices.SortFunc(m.Properties, func(a, b message.Property) int { return strings.Compare(a.Key, b.Key) })
	m.Trace = message.TraceOf(m.Properties)
	return m, cmp.Or(t.Place, 1), nil
}

// printRecord prints what a target would write.
func printRecord(w io.Writer, name string, one sink.Config, r *pump.Record, v *route.View) {
	line := func(what, value string) {
		if !isPlain([]byte(value)) { // it may be a device's, and go to a terminal
			value = strconv.Quote(value)
		}
		if value != "" {
			_, _ = fmt.Fprintf(w, "%-12s %s\n", what, value)
		}
	}
	line("sink", name+" ("+one.Kind()+"), message "+pump.ID(v))
	line("to", r.To)
	line("key", r.Key)
	line("content type", r.ContentType)
	if r.Retain {
		line("retain", "true")
	}
	for _, h := range r.Headers {
		line("header", h.Name+": "+h.Value)
	}
	for i, x := range r.Values {
		line(fmt.Sprintf("parameter %d", i+1), shownValue(x))
	}
	if one.Model != "" {
		line("model", one.Model+" is not asked, and sets nothing here")
	}
	if r.Value == nil {
		return
	}
	if isPlain(r.Value) {
		line("value", string(bytes.TrimRight(r.Value, "\n")))
		return
	}
	line("value", fmt.Sprintf("%d bytes", len(r.Value)))
	_, _ = io.WriteString(w, hex.Dump(r.Value))
}

// shownValue is a parameter of a statement as it is printed.
func shownValue(x any) string {
	switch x := x.(type) {
	case nil:
		return "NULL"
	case string:
		return fmt.Sprintf("%q", x)
	case []byte:
		if isPlain(x) {
			return fmt.Sprintf("bytes %q", x)
		}
		return "bytes " + hex.EncodeToString(x)
	case time.Time:
		return x.Format(time.RFC3339Nano)
	}
	return fmt.Sprint(x)
}

// isPlain reports whether b is text without control characters but line ends and tabs.
func isPlain(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' })
}
