//go:build servers || long

package sinks

import (
	"bytes"
	"cmp"
	"path/filepath"
	"testing"
	"time"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
)

// variants returns which variants of a test there are: all in the long form, the first of them in the short one.
func variants[T any](first int, all ...T) []T {
	if long {
		return all
	}
	return all[:first]
}

// times returns how often something happens in the form of this run.
func times(short, inLong int) int {
	if long {
		return inLong
	}
	return short
}

// prepare returns the records of messages, at places from 1 on.
func prepare(t testing.TB, to pump.Target, messages ...*message.Message) (all []*pump.Record) {
	t.Helper()
	var v route.View
	v.Node, v.Stream = 3, "all"
	for i, m := range messages {
		v.Reset(m)
		v.Place = uint64(i + 1)
		r := &pump.Record{Place: v.Place, Message: m, Key: m.Source}
		if err := to.Prepare(&v, r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// options returns options with what a target needs in any case.
func options(o pump.Options) pump.Options {
	if o.Watcher == nil {
		o.Watcher = new(reload.Watcher)
	}
	if o.Log == nil {
		o.Log = sinktest.Log
	}
	o.Name, o.Lanes = cmp.Or(o.Name, "sink"), cmp.Or(o.Lanes, 1)
	return o
}

// certificate is one that a server has, and clients trust.
type certificate struct{ cert, key string }

func newCertificate(t testing.TB) certificate {
	t.Helper()
	dir := t.TempDir()
	c := certificate{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	if _, err := bench.WriteCertificate(c.cert, c.key); err != nil {
		t.Fatal(err)
	}
	return c
}

// texts returns payloads, with a blank between them.
func texts(payloads [][]byte) string { return string(bytes.Join(payloads, []byte(" "))) }

// eventually waits until something holds.
func eventually(t testing.TB, holds func() bool) {
	t.Helper()
	for begin := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatal("not within a minute")
		}
	}
}
