package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/format"
)

// FormatBatch is how many messages a batch of Formats has.
const FormatBatch = 100

// FormatResult is what a recording costs in one format and compression.
type FormatResult struct {
	Format      string             `json:"format"`
	Compression format.Compression `json:"compression"`
	Batch       int                `json:"batch"` // messages that are encoded and compressed together
	Messages    int                `json:"messages"`
	Bytes       float64            `json:"bytes"`  // per message, as are the others
	Encode      FormatCost         `json:"encode"` // from a tree, compression included
	Decode      FormatCost         `json:"decode"` // into a tree, decompression included
}

// FormatCost is what one direction costs per message.
type FormatCost struct {
	Nanoseconds float64 `json:"nanoseconds"` // of CPU time
	Garbage     float64 `json:"garbage"`     // bytes allocated
	Allocations float64 `json:"allocations"`
}

// Recording calls each with every message of a recording, as JSON.
type Recording func(each func(payload []byte) error) error

// Formats measures a recording in every format and compression, message by message and in batches. It reads the recording twice: to find out
// what its values are, which becomes the schema for formats that need one, and to measure. What is written is also read and written again, which has to
// make the same bytes. Nothing else may run in the process meanwhile.
func Formats(ctx context.Context, recording Recording) ([]FormatResult, error) {
	in, err := format.Open(format.Config{}, format.Options{})
	if err != nil {
		return nil, err
	}
	var all columns
	messages := 0
	tree := new(format.Tree)
	err = recording(func(payload []byte) error {
		messages++
		if err := in.Decode(tree, payload); err != nil {
			return err
		}
		return all.meet(tree.Root())
	})
	if err == nil {
		err = all.finish(messages)
	}
	if err != nil {
		return nil, fmt.Errorf("message %d: %w", messages, err)
	}
	layouts, err := all.layouts()
	if err != nil {
		return nil, err
	}
	m := newFormatMeter(layouts)
	err = recording(func(payload []byte) error {
		tree := new(format.Tree)
		err := in.Decode(tree, payload)
		if err == nil {
			err = all.clear(tree)
		}
		if m.trees = append(m.trees, tree); err != nil || len(m.trees) < chunk {
			return err
		}
		if err := m.measure(); err != nil {
			return err
		}
		return ctx.Err()
	})
	if err == nil {
		err = m.measure()
	}
	return m.finish(), err
}

// chunk is how many messages are in memory at a time.
const chunk = 10 * FormatBatch

// formatMeter adds up what chunks of messages cost.
type formatMeter struct {
	layouts []layout
	trees   []*format.Tree
	results []FormatResult

	// Used again and again.
	into   format.Tree
	plain  []byte
	packed []byte
}

func newFormatMeter(layouts []layout) *formatMeter {
	m := &formatMeter{layouts: layouts}
	for _, batch := range []int{1, FormatBatch} {
		for _, l := range layouts {
			for _, c := range []format.Compression{format.None, format.Gzip, format.Snappy, format.Zstd} {
				m.results = append(m.results, FormatResult{Format: l.name, Compression: c, Batch: batch})
			}
		}
	}
	return m
}

// measure measures the trees that are there, and forgets them.
func (m *formatMeter) measure() error {
	at := 0
	for _, batch := range []int{1, FormatBatch} {
		for _, l := range m.layouts {
			f, trees := l.one, m.trees
			if batch > 1 {
				f = l.many
				var err error
				if trees, err = batches(m.trees, l.rows); err != nil {
					return err
				}
			}
			if err := check(f, trees); err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			for range 4 {
				if err := m.results[at].measure(m, f, trees); err != nil {
					return fmt.Errorf("%s, %s: %w", l.name, m.results[at].Compression, err)
				}
				m.results[at].Messages += len(m.trees)
				at++
			}
		}
	}
	m.trees = m.trees[:0]
	return nil
}

// batches returns the trees of batches.
func batches(trees []*format.Tree, rows bool) ([]*format.Tree, error) {
	var path []string
	if rows {
		path = []string{"rows"}
	}
	var all []*format.Tree
	for len(trees) > 0 {
		n := min(FormatBatch, len(trees))
		var values []any
		for _, t := range trees[:n] {
			values = append(values, t.Root())
		}
		batch := new(format.Tree)
		if err := batch.Set(path, values); err != nil {
			return nil, err
		}
		all, trees = append(all, batch), trees[n:]
	}
	return all, nil
}

// check writes, reads and writes again.
func check(f format.Format, trees []*format.Tree) error {
	var back format.Tree
	for _, t := range trees {
		out, err := f.Encode(nil, t.Root())
		if err != nil {
			return err
		}
		if err := f.Decode(&back, out); err != nil {
			return fmt.Errorf("it cannot read what it has written: %w", err)
		}
		second, err := f.Encode(nil, back.Root())
		if err != nil {
			return fmt.Errorf("it cannot write what it has read: %w", err)
		}
		if !bytes.Equal(second, out) {
			return fmt.Errorf("it has read %.100q, and writes %.100q", out, second)
		}
	}
	return nil
}

// measure adds what these trees cost.
func (r *FormatResult) measure(m *formatMeter, f format.Format, trees []*format.Tree) error {
	encode := func(i int) (err error) {
		if m.plain, err = f.Encode(m.plain[:0], trees[i].Root()); err != nil {
			return err
		}
		m.packed = r.Compression.Compress(m.packed[:0], m.plain)
		return nil
	}
	if err := r.Encode.add(len(trees), encode); err != nil {
		return err
	}
	packed := make([][]byte, len(trees))
	for i := range trees {
		if err := encode(i); err != nil {
			return err
		}
		packed[i] = bytes.Clone(m.packed)
		r.Bytes += float64(len(packed[i]))
	}
	return r.Decode.add(len(trees), func(i int) (err error) {
		if m.plain, err = r.Compression.Decompress(m.plain[:0], packed[i], maxBatch); err != nil {
			return err
		}
		return f.Decode(&m.into, m.plain)
	})
}

const maxBatch = 64 << 20 // bytes

// add runs one n times, and adds what that costs.
func (c *FormatCost) add(n int, one func(i int) error) error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := cpuTime()
	for i := range n {
		if err := one(i); err != nil {
			return err
		}
	}
	c.Nanoseconds += float64(cpuTime() - start)
	runtime.ReadMemStats(&after)
	c.Garbage += float64(after.TotalAlloc - before.TotalAlloc)
	c.Allocations += float64(after.Mallocs - before.Mallocs)
	return nil
}

// cpuTime returns the CPU time that all threads of the process have had: also those of the garbage collector.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// finish returns the results per message.
func (m *formatMeter) finish() []FormatResult {
	for i := range m.results {
		r := &m.results[i]
		n := float64(max(r.Messages, 1))
		r.Bytes /= n
		for _, c := range []*FormatCost{&r.Encode, &r.Decode} {
			c.Nanoseconds /= n
			c.Garbage /= n
			c.Allocations /= n
		}
	}
	return m.results
}

// WriteFormats writes results as tables: one for single messages, one for batches.
func WriteFormats(w io.Writer, results []FormatResult) error {
	var b strings.Builder
	for _, batch := range []int{1, FormatBatch} {
		title := "Message by message, per message:"
		if batch > 1 {
			title = fmt.Sprintf("\nIn batches of %d, per message:", batch)
		}
		g := Grid{{"format", "compression", "bytes", "encode, CPU us", "decode, CPU us", "encode: garbage, B", "allocations", "decode: garbage, B", "allocations"}}
		for _, r := range results {
			if r.Batch == batch {
				g = append(g, []string{
					r.Format, string(r.Compression), Short(r.Bytes), Short(r.Encode.Nanoseconds / 1000), Short(r.Decode.Nanoseconds / 1000),
					Short(r.Encode.Garbage), Short(r.Encode.Allocations), Short(r.Decode.Garbage), Short(r.Decode.Allocations),
				})
			}
		}
		fmt.Fprintf(&b, "%s\n\n%s", title, g)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteFormatsJSON writes results as JSON.
func WriteFormatsJSON(w io.Writer, results []FormatResult) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(results)
}
