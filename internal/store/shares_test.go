package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
)

func TestShares(t *testing.T) {
	now := time.Now()
	o := Options{Retained: RetainedLimits{Count: 100, Bytes: 10_000, PerDevice: 10, PerPrefix: []string{"m-=15", "m-x=1"}}}
	s := NewMemory(o)
	keep := func(source, name string, bytes int) string {
		t.Helper()
		m := &message.Message{Topic: name, Source: source, Payload: []byte(strings.Repeat("x", bytes))}
		var full *RetainedFull
		switch err := s.Retain(m.Clone(), now); {
		case errors.As(err, &full) && errors.Is(err, ErrFull):
			return full.Of
		case err != nil:
			t.Fatal(err)
		}
		return "kept"
	}
	want := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for i := range 10 {
		want(keep("evil", fmt.Sprint("evil/", i), 1), "kept")
	}
	want(keep("evil", "evil/x", 1), OfDevice)
	want(keep("evil", "evil/3", 2), "kept") // in the place of its own
	want(keep("large", "large", 1001), OfDevice)
	for i := range 15 {
		want(keep(fmt.Sprint("m-", i), fmt.Sprint("m/", i), 1), "kept")
	}
	want(keep("m-20", "m/20", 1), OfPrefix)
	want(keep("m-20", "m/3", 1), "kept") // in the place of another of the prefix
	want(keep("m-x", "m-x/1", 1), "kept")
	want(keep("m-x", "m-x/2", 1), OfPrefix)
	want(keep("other", "evil/0", 1), "kept") // takes a topic over, and makes room
	want(keep("evil", "evil/x", 1), "kept")
	want(keep("evil", "evil/y", 1), OfDevice)
	want(keep("evil", "evil/x", 0), "kept") // removed
	want(keep("evil", "evil/y", 1), "kept")
	for i := range 100 - s.retained.byTopic.Len() {
		want(keep("", fmt.Sprint("backend/", i), 1), "kept")
	}
	want(keep("", "backend/x", 1), OfNode)
	want(keep("honest", "honest", 1), OfNode)
	for _, name := range []string{"evil", "m", "m-x", "backend"} {
		for i := range 100 {
			keep("", fmt.Sprint(name, "/", i), 0)
		}
	}
	keep("", "evil/y", 0)
	if n := len(s.retained.shares.byDevice); n != 0 || s.retained.bytes != 0 || *s.retained.shares.prefix("m-1") != (prefixShare{"m-", usage{15, 1500}, usage{}}) {
		t.Errorf("left: %d devices, %d bytes, %+v", n, s.retained.bytes, s.retained.shares.prefix("m-1"))
	}
}

func TestSharesAreValid(t *testing.T) {
	for _, l := range []RetainedLimits{{PerDevice: 101}, {PerDevice: -1}, {PerPrefix: []string{"m-"}}, {PerPrefix: []string{"=1"}}, {PerPrefix: []string{"m-=x"}}, {PerPrefix: []string{"m-=101"}}} {
		if err := (Options{Retained: l}).Validate(); err == nil || !strings.HasPrefix(err.Error(), "retained.per_") {
			t.Errorf("%+v: %v", l, err)
		}
	}
	if err := (Options{}).WithDefaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestBoundsOfTheDiskAreValid(t *testing.T) {
	for want, o := range map[string]Options{
		"max_bytes: want 1GiB or more":        {Path: "x", MaxBytes: 100 << 20},
		"second_path: needs store.path":       {SecondPath: "y"},
		"second_path: want another directory": {Path: "x/y", SecondPath: "x/y/z"},
	} {
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if err := (Options{Path: "x", SecondPath: "y", MaxBytes: 1 << 30}).WithDefaults().Validate(); err != nil {
		t.Error(err)
	}
}
