package model

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/format"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/topic"
)

// Config is one model: where it is, what it is asked, and what becomes of its answers.
type Config struct {
	Service   string   `yaml:"service" help:"name of the service under services at which the model is; its protocol is grpc"`
	Instances []string `yaml:"instances" help:"in place of a service, the URLs of servers that have the model, such as http://triton:8001"`
	Model     string   `yaml:"model" help:"the model's name there; left out, that of this section"`
	Version   string   `yaml:"version" help:"the model's version there; left out, the server chooses"`

	Filters []string      `yaml:"filters" help:"the model is asked about messages whose topics match one of these; with output.publish"`
	Where   string        `yaml:"where" help:"about which of them, as an expression in CEL such as payload.t > 20; left out, all; with output.publish"`
	Payload format.Config `yaml:"payload" help:"the format of their payloads; left out, by their content type, or else JSON; with output.publish"`

	Inputs setting.Named[Input] `yaml:"inputs" help:"the model's input tensors, each under its name"`
	Window Window               `yaml:"window" help:"asks about the last messages of each device together"`
	Batch  Batch                `yaml:"batch" help:"asks about several devices in one call"`
	Output Output               `yaml:"output" help:"what becomes of the answers"`

	Timeout   time.Duration      `yaml:"timeout" help:"how long a call may take; a message waits at most as long for its turn. Then it goes on without an answer"`
	InFlight  int                `yaml:"in_flight" help:"calls under way at a time"`
	Queue     router.InboxConfig `yaml:"queue" help:"messages that wait for the model; beyond these bounds the model is not asked about new ones; with output.publish"`
	OpenAfter int                `yaml:"open_after" help:"calls in a row without an answer after which the circuit breaker opens: messages go on at once, without the model"`
	OpenFor   time.Duration      `yaml:"open_for" help:"how long the circuit breaker stays open"`
	MaxAnswer int                `yaml:"max_answer" unit:"bytes" help:"largest answer to a call; with instances"`
	TLS       setting.TLS        `yaml:"tls" help:"for https URLs in instances"`
}

// Input is an input tensor: what of a message is in it.
type Input struct {
	Name   string   `yaml:"name" help:"the tensor's name, if it cannot be that of the section"`
	Fields []string `yaml:"fields" help:"its elements, in order: parts of a message as in templates, such as payload.temperature; a list counts as its items; with ? at the end a part may be missing, which is NaN then"`
	Type   string   `yaml:"type" help:"BOOL, INT8 to INT64, UINT8 to UINT64, FP32, FP64 or BYTES"`
	Shape  []string `yaml:"shape" help:"its sizes; -1 first is the number of messages in a call, and without it there is one. Left out: -1, messages of a window, elements of a message"`
}

// Window is several messages of a device.
type Window struct {
	Messages int    `yaml:"messages" help:"how many, the newest one included; left out, each message is asked about alone"`
	Per      string `yaml:"per" help:"template of the key whose messages belong together"`
	Keys     int    `yaml:"keys" help:"how many of these are remembered; then the one that was longest without a message is forgotten"`
}

// Batch is how many messages go into one call.
type Batch struct {
	Messages int           `yaml:"messages" help:"at most this many; 1 if no shape begins with -1"`
	Bytes    int           `yaml:"bytes" unit:"bytes" help:"and of at most this size together; servers in Python refuse more than 4MiB"`
	Wait     time.Duration `yaml:"wait" help:"how long the first one waits for others"`
}

// Output is what becomes of an answer: exactly one of Publish and Set.
type Output struct {
	Publish string   `yaml:"publish" help:"template of the topic on which the answer is published, such as device/{source}/anomaly: an object in JSON with the output tensors by their names"`
	Set     string   `yaml:"set" help:"path of the field of the payload that gets the answer, such as score; sinks name the model with their key model"`
	Tensors []string `yaml:"tensors" help:"output tensors that count, such as score, or score[0] for its first element; left out, all"`
}

// Bounds of the configuration.
const (
	mostInputs   = 64
	mostElements = 1 << 18 // of a row of one input
	mostRow      = 1 << 20 // bytes of a row with all inputs
	mostWindows  = 256 << 20
	mostTensors  = 64
	mostText     = 64 << 10 // bytes of an element of type BYTES
)

// limits bound filters and topics.
var limits = topic.Limits{Depth: 128, Length: 1 << 16}

// WithDefaults implements setting.Section.
func (c Config) WithDefaults() Config {
	c.Inputs = c.Inputs.WithDefaults()
	if c.Window.Messages > 0 {
		c.Window.Per = cmp.Or(c.Window.Per, "{source}")
		c.Window.Keys = cmp.Or(c.Window.Keys, 10_000)
	}
	c.Batch.Messages = cmp.Or(c.Batch.Messages, 64)
	if !c.batched() {
		c.Batch.Messages = 1
	}
	c.Batch.Bytes = cmp.Or(c.Batch.Bytes, 3<<20)
	c.Batch.Wait = cmp.Or(c.Batch.Wait, 5*time.Millisecond)
	c.Timeout = cmp.Or(c.Timeout, 200*time.Millisecond)
	c.InFlight = cmp.Or(c.InFlight, 4)
	c.Queue.Messages = cmp.Or(c.Queue.Messages, 4096)
	c.Queue.Bytes = cmp.Or(c.Queue.Bytes, 8<<20)
	c.OpenAfter = cmp.Or(c.OpenAfter, 5)
	c.OpenFor = cmp.Or(c.OpenFor, 5*time.Second)
	c.MaxAnswer = cmp.Or(c.MaxAnswer, 1<<20)
	c.Payload = c.Payload.WithDefaults()
	return c
}

// WithDefaults implements setting.Section.
func (c Input) WithDefaults() Input {
	c.Type = cmp.Or(c.Type, "FP32")
	return c
}

// Sample returns c with the defaults of its parts, for the documentation.
func (c Config) Sample() Config {
	c.Window.Per, c.Window.Keys = "{source}", 10_000
	c.Batch.Messages = 64
	return c
}

// Sets reports whether the answers are set into messages, and not published.
func (c Config) Sets() bool { return c.Output.Set != "" }

// batched reports whether the shapes leave room for several messages in a call.
func (c *Config) batched() bool {
	for _, i := range c.Inputs {
		if len(i.Shape) > 0 && i.Shape[0] != anyNumber {
			return false
		}
	}
	return true
}

// anyNumber is the first size of a shape that has room for several messages.
const anyNumber = "-1"

// Validate implements setting.Section.
func (c Config) Validate() error {
	for _, check := range []func() error{c.checkPlace, c.checkInputs, c.checkWindow, c.checkOutput, c.checkBounds} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkPlace() error {
	if (c.Service == "") == (len(c.Instances) == 0) {
		return errors.New("service: want a service or instances, and not both")
	}
	for _, text := range c.Instances {
		if u, err := url.Parse(text); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("instances: want URLs such as http://triton:8001, not %q", text)
		}
	}
	if err := c.TLS.Validate(); err != nil {
		return fmt.Errorf("tls.%w", err)
	}
	return nil
}

func (c *Config) checkInputs() error {
	if n := len(c.Inputs); n < 1 || n > mostInputs {
		return fmt.Errorf("inputs: want 1 to %d, not %d", mostInputs, n)
	}
	if err := c.Inputs.Validate(); err != nil {
		return fmt.Errorf("inputs.%w", setting.Errors(err)[0])
	}
	inputs, err := parseInputs(c)
	if err != nil {
		return err
	}
	if n := inputs.rowSize(); n > mostRow {
		return fmt.Errorf("inputs: the tensors of a message have %d bytes, more than %d", n, mostRow)
	}
	return nil
}

// Validate implements setting.Section.
func (c Input) Validate() error {
	if len(c.Fields) == 0 {
		return errors.New("fields: is missing")
	}
	if kindOf(c.Type) == nil {
		return fmt.Errorf("type: want one of %s, not %q", kindNames(), c.Type)
	}
	for _, f := range c.Fields {
		if _, err := route.ParseTemplate("{" + f + "}"); err != nil {
			return fmt.Errorf("fields: %q: %w", f, err)
		}
	}
	for i, size := range c.Shape {
		if n, err := strconv.Atoi(size); (err != nil || n < 1 || n > mostElements) && (i > 0 || size != anyNumber) {
			return fmt.Errorf("shape: want sizes from 1 to %d, and perhaps -1 as the first, not %q", mostElements, size)
		}
	}
	return nil
}

func (c *Config) checkWindow() error {
	w := c.Window
	if w.Messages == 0 {
		if w.Per != "" || w.Keys != 0 {
			return errors.New("window.messages: is missing")
		}
		return nil
	}
	inputs, err := parseInputs(c)
	if err != nil {
		return err
	}
	switch {
	case w.Messages < 2 || w.Messages > 1<<16:
		return fmt.Errorf("window.messages: want 2 to %d, not %d", 1<<16, w.Messages)
	case w.Keys < 1 || w.Keys > 1<<20:
		return fmt.Errorf("window.keys: want 1 to %d, not %d", 1<<20, w.Keys)
	case inputs.texts():
		return errors.New("window: the elements of a window have a fixed size, so their type cannot be BYTES")
	case inputs.rowSize()+windowOverhead > mostWindows/w.Keys:
		return fmt.Errorf("window.keys: %d windows of %d bytes are more than 256MiB", w.Keys, inputs.rowSize()+windowOverhead)
	}
	if _, err := route.ParseTemplate(w.Per); err != nil {
		return fmt.Errorf("window.per: %w", err)
	}
	return nil
}

func (c *Config) checkOutput() error {
	o := c.Output
	if (o.Publish == "") == (o.Set == "") {
		return errors.New("output: want publish or set, and not both")
	}
	if len(o.Tensors) > mostTensors {
		return fmt.Errorf("output.tensors: want at most %d, not %d", mostTensors, len(o.Tensors))
	}
	for _, text := range o.Tensors {
		if _, err := parseWanted(text); err != nil {
			return fmt.Errorf("output.tensors: %w", err)
		}
	}
	if o.Set != "" {
		switch {
		case len(c.Filters) > 0:
			return errors.New("filters: are for output.publish; with output.set the messages are those of a sink")
		case c.Where != "":
			return errors.New("where: is for output.publish; with output.set the messages are those of a sink")
		case c.Payload.Given():
			return errors.New("payload: is for output.publish; with output.set it is the sink that says it")
		}
		_, err := parsePath(o.Set)
		return err
	}
	if len(c.Filters) == 0 {
		return errors.New("filters: are missing")
	}
	for _, f := range c.Filters {
		if err := topic.ValidateFilter(f, limits); err != nil {
			return fmt.Errorf("filters: %q: %w", f, err)
		}
		if topic.IsShared(f) {
			return fmt.Errorf("filters: %q: a model has no shared subscription", f)
		}
	}
	if _, err := route.ParseTemplate(o.Publish); err != nil {
		return fmt.Errorf("output.publish: %w", err)
	}
	if err := topic.ValidateName(parts.ReplaceAllString(o.Publish, "x"), limits); err != nil {
		return fmt.Errorf("output.publish: %q: %w", o.Publish, err)
	}
	return c.route().Validate()
}

func (c *Config) checkBounds() error {
	for _, e := range []struct {
		key         string
		value, most int
	}{
		{"batch.messages", c.Batch.Messages, 1 << 16}, {"batch.bytes", c.Batch.Bytes, 64 << 20}, {"in_flight", c.InFlight, 1024},
		{"queue.messages", c.Queue.Messages, 1 << 20}, {"queue.bytes", c.Queue.Bytes, 1 << 30}, {"open_after", c.OpenAfter, 1 << 20},
		{"max_answer", c.MaxAnswer, 64 << 20},
	} {
		if e.value < 1 || e.value > e.most {
			return fmt.Errorf("%s: want 1 to %d, not %d", e.key, e.most, e.value)
		}
	}
	for _, e := range []struct {
		key         string
		value, most time.Duration
	}{{"timeout", c.Timeout, time.Minute}, {"batch.wait", c.Batch.Wait, time.Second}, {"open_for", c.OpenFor, time.Hour}} {
		if e.value < time.Millisecond || e.value > e.most {
			return fmt.Errorf("%s: want 1ms to %v, not %v", e.key, e.most, e.value)
		}
	}
	return nil
}

// route returns which messages a model is asked about that publishes its answers.
func (c *Config) route() route.Config { return route.Config{Where: c.Where, Payload: c.Payload} }

// CheckFiles reads the files that c names. The error begins with the key.
func (c Config) CheckFiles(w *reload.Watcher) error {
	if _, err := c.TLS.Dialer(w, nil); err != nil {
		return fmt.Errorf("tls.%w", err)
	}
	_, err := route.Open(c.route(), route.Options{Watcher: w, Offline: true})
	return err
}

// CheckTogether returns what is wrong with several models together, after Validate: a model must not be asked about its own answers, nor about
// what others make of them. Each error begins with the name of a model and the key.
func CheckTogether(all setting.Named[Config]) error {
	asked := func(from, about string) bool { // about what from publishes
		return all[from].Output.Publish != "" && slices.ContainsFunc(all[about].Filters, func(f string) bool {
			return topic.Overlap(f, pattern(all[from].Output.Publish))
		})
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		reached, look := map[string]bool{}, []string{name}
		for len(look) > 0 {
			from := look[0]
			look = look[1:]
			for about := range all {
				switch {
				case !asked(from, about) || reached[about]:
				case about == name:
					return fmt.Errorf("%s.output.publish: %q goes round: the model would be asked about its own answers, because filters match them", name, all[name].Output.Publish)
				default:
					reached[about] = true
					look = append(look, about)
				}
			}
		}
	}
	return nil
}

// parts are the parts of a message in a template.
var parts = regexp.MustCompile(`{[^}]*}`)

// pattern returns the filter that all topics of a template match: a level with a part of a message in it may be any, and one with several levels of a
// topic in it may be any number.
func pattern(template string) string {
	levels := strings.Split(template, "/")
	for i, level := range levels {
		switch {
		case strings.Contains(level, "{topic}"), strings.Contains(level, "{topic[") && strings.Contains(level, ":"),
			strings.Count(level, "{") != strings.Count(level, "}"): // the slash is in a part
			return strings.Join(append(levels[:i:i], "#"), "/")
		case strings.Contains(level, "{"):
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}
