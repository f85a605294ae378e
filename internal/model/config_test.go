package model

import (
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/setting"
)

func good() Config {
	return Config{
		Instances: []string{"http://triton:8001"}, Inputs: setting.Named[Input]{"x": {Fields: []string{"payload.t", "payload.u?"}}}, Output: Output{Set: "a.score"},
	}
}

func TestConfig(t *testing.T) {
	published := func(c *Config) {
		c.Filters, c.Output = []string{"device/+/telemetry"}, Output{Publish: "device/{source}/anomaly"}
	}
	shape := func(sizes ...string) func(*Config) {
		return func(c *Config) { c.Inputs["x"] = Input{Fields: []string{"payload.t"}, Shape: sizes} }
	}
	for want, change := range map[string]func(*Config){
		"":                            func(*Config) {},
		" ":                           published,
		"  ":                          shape("-1", "3"),
		"   ":                         shape("4"),
		"service: want a service":     func(c *Config) { c.Instances = nil },
		"service: want a service or":  func(c *Config) { c.Service = "triton" },
		"instances: want URLs":        func(c *Config) { c.Instances = []string{"triton:8001"} },
		"inputs: want 1 to 64":        func(c *Config) { c.Inputs = nil },
		"inputs.x.fields: is missing": func(c *Config) { c.Inputs["x"] = Input{} },
		"inputs.x.fields: \"nothing\": ": func(c *Config) {
			c.Inputs["x"] = Input{Fields: []string{"nothing"}}
		},
		"inputs.x.type: want one of BOOL, ":    func(c *Config) { c.Inputs["x"] = Input{Fields: []string{"payload.t"}, Type: "FP16"} },
		"inputs.x.shape: want sizes from 1":    shape("-1", "0"),
		"inputs.x.shape: want sizes from 1 to": shape("-1", "-1"),
		"inputs.x.shape: want at most":         shape("-1", "65536", "65536"),
		"inputs.x.shape: has 1 elements of a message, fewer": func(c *Config) {
			c.Inputs["x"] = Input{Fields: []string{"payload.t", "payload.u"}, Shape: []string{"1"}}
		},
		"inputs.y.shape: want all shapes with -1": func(c *Config) {
			c.Inputs["x"], c.Inputs["y"] = Input{Fields: []string{"payload.t"}, Shape: []string{"1"}}, Input{Fields: []string{"payload.t"}}
		},
		"inputs: the tensors of a message have": func(c *Config) {
			c.Inputs["x"] = Input{Fields: []string{"payload.t"}, Type: "FP64", Shape: []string{"-1", "200000"}}
		},
		"inputs.x.shape: has 3 elements, which is no multiple": func(c *Config) { shape("-1", "3")(c); c.Window.Messages = 2 },
		"window.messages: want 2 to":                           func(c *Config) { c.Window.Messages = 1 },
		"window.messages: is missing":                          func(c *Config) { c.Window.Keys = 1 },
		"window.per: ":                                         func(c *Config) { c.Window = Window{Messages: 2, Per: "{x"} },
		"window.keys: 1000000 windows of 1312 bytes":           func(c *Config) { c.Window = Window{Messages: 100, Keys: 1_000_000} },
		"window: the elements": func(c *Config) {
			c.Window.Messages, c.Inputs["x"] = 2, Input{Fields: []string{"payload.t"}, Type: "BYTES"}
		},
		"output: want publish or set":              func(c *Config) { c.Output = Output{} },
		"output: want publish or set, and":         func(c *Config) { published(c); c.Output.Set = "score" },
		"output.set: ":                             func(c *Config) { c.Output.Set = "a..b" },
		"output.tensors: want a name":              func(c *Config) { c.Output.Tensors = []string{"score["} },
		"filters: are for output.publish":          func(c *Config) { c.Filters = []string{"a"} },
		"where: is for output.publish":             func(c *Config) { c.Where = "true" },
		"payload: is for output.publish":           func(c *Config) { c.Payload.Name = "json" },
		"filters: are missing":                     func(c *Config) { published(c); c.Filters = nil },
		"filters: \"a/#/b\": ":                     func(c *Config) { published(c); c.Filters = []string{"a/#/b"} },
		"filters: \"$share/a/b\": a model has no":  func(c *Config) { published(c); c.Filters = []string{"$share/a/b"} },
		"output.publish: ":                         func(c *Config) { published(c); c.Output.Publish = "{a" },
		"output.publish: \"a/+\": ":                func(c *Config) { published(c); c.Output.Publish = "a/+" },
		"where: ":                                  func(c *Config) { published(c); c.Where = "payload." },
		"timeout: want 1ms to 1m0s, not 1h0m0s":    func(c *Config) { c.Timeout = time.Hour },
		"batch.messages: want 1 to 65536, not -1":  func(c *Config) { c.Batch.Messages = -1 },
		"queue.messages: want 1 to 1048576, not -": func(c *Config) { c.Queue.Messages = -1 },
	} {
		c := good()
		change(&c)
		err := c.WithDefaults().Validate()
		switch want = strings.TrimSpace(want); {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)):
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A model is never asked about its own answers, nor about what other models make of them.
func TestRound(t *testing.T) {
	model := func(publish string, filters ...string) Config {
		c := good()
		c.Output, c.Filters = Output{Publish: publish}, filters
		return c
	}
	set := good()
	for n, c := range []struct {
		models setting.Named[Config]
		round  bool
	}{
		{setting.Named[Config]{"a": model("device/{source}/a", "device/+/telemetry"), "b": model("device/{source}/b", "device/+/a"), "c": set}, false},
		{setting.Named[Config]{"a": model("device/{source}/a", "device/#")}, true},
		{setting.Named[Config]{"a": model("{topic}/a", "device/+/telemetry")}, true},
		{setting.Named[Config]{"a": model("a/{topic[1:]}", "a/b/c")}, true},
		{setting.Named[Config]{"a": model("a/{topic[1]}", "a/b/c")}, false},
		{setting.Named[Config]{"a": model("a/{time:2006/01}", "a/b/c")}, true},
		{setting.Named[Config]{"a": model("b/{source}", "a/+"), "b": model("c/{source}", "b/+"), "c": model("a/{source}", "c/+")}, true},
		{setting.Named[Config]{"a": model("x", "a/+"), "b": model("c/{source}", "b/+"), "c": model("b/{source}", "c/+")}, true},
	} {
		if err := CheckTogether(c.models); (err != nil) != c.round {
			t.Errorf("%d: %v", n, err)
		}
	}
}
