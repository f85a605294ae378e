package file_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/file"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
)

// The contract, with files that are set aside all the time.
func TestContract(t *testing.T) {
	dir := t.TempDir()
	path := func(where string) string { return filepath.Join(dir, where, "out.jsonl") }
	s := sinktest.Server{
		Bad: []byte("\xff\nbad"),
		Open: func(t testing.TB, _, where string, o pump.Options) pump.Target {
			return open(t, file.Config{Path: path(where), Content: file.Payload, Rotate: file.Rotate{Bytes: 5000}}, o)
		},
		Read: func(t testing.TB, where string) [][]byte {
			return bytes.Split(bytes.TrimSpace(readAll(t, path(where))), []byte("\n"))
		},
	}
	sinktest.Run(t, s)
}

// setAside returns the files that were set aside, oldest first. One that has just been compressed, and is there twice, counts once.
func setAside(t testing.TB, path string) (names []string) {
	t.Helper()
	found, err := filepath.Glob(strings.TrimSuffix(path, filepath.Ext(path)) + "-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(slices.Values(found)) {
		if !strings.HasSuffix(name, ".partial") && !slices.Contains(found, name+".gz") {
			names = append(names, name)
		}
	}
	return names
}

func open(t testing.TB, c file.Config, o pump.Options) pump.Target {
	t.Helper()
	if o.Log == nil {
		o.Log = sinktest.Log
	}
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	target, err := file.Open(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// readAll returns what is in a file and in those that were set aside before it, also while these are set aside and compressed.
func readAll(t testing.TB, path string) (all []byte) {
	t.Helper()
	eventually(t, func() bool {
		names := setAside(t, path)
		var err error
		all, err = readFiles(append(slices.Clip(names), path))
		return err == nil && slices.Equal(names, setAside(t, path))
	})
	return all
}

func readFiles(names []string) (all []byte, err error) {
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil && strings.HasSuffix(name, ".gz") {
			text, err = unpacked(text)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, text...)
	}
	return all, nil
}

func unpacked(text []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// prepared returns what a target makes of a message.
func prepared(t *testing.T, target pump.Target, m *message.Message) *pump.Record {
	t.Helper()
	v := &route.View{Node: 3, Stream: "s"}
	v.Reset(m)
	v.Place = 17
	r := &pump.Record{Message: m}
	if err := target.Prepare(v, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func send(t *testing.T, target pump.Target, records ...*pump.Record) {
	t.Helper()
	if done, err := target.Send(context.Background(), records); done != len(records) || err != nil {
		t.Fatal(done, err)
	}
}

func TestMessageLines(t *testing.T) {
	target := open(t, file.Config{Path: filepath.Join(t.TempDir(), "o")}, pump.Options{})
	for _, c := range []struct {
		payload, contentType string
		want                 string
	}{
		{"{\"a\": 1,\n \"b\": \"<\"}", "application/json", `"payload":{"a":1,"b":"<"}`},
		{`[1]`, "", `"payload":[1]`},
		{`1`, "text/plain", `"payload_text":"1"`},
		{"a\nb", "", `"payload_text":"a\nb"`},
		{"{broken", "application/json", `"payload_text":"{broken"`},
		{"\xff\x00", "application/json", `"payload_base64":"/wA="`},
		{"", "", `"content_type"`},
	} {
		m := &message.Message{Topic: "device/d/x", Source: "d", Payload: []byte(c.payload), ContentType: c.contentType, Time: 1700000000123,
			Properties: []message.Property{{Key: "k", Value: "v"}}}
		line := prepared(t, target, m).Value
		var parsed map[string]any
		if err := json.Unmarshal(line, &parsed); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if bytes.Count(line, []byte("\n")) != 1 || parsed["place"] != "3/s/17" || parsed["time"] != "2023-11-14T22:13:20.123Z" || parsed["topic"] != "device/d/x" || parsed["source"] != "d" {
			t.Errorf("%s", line)
		}
		if strings.Contains(string(line), c.want) == (c.payload == "") {
			t.Errorf("%q: %s", c.payload, line)
		}
	}
}

// What a kill has left of a last message is cut off, and kept.
func TestTornEnd(t *testing.T) {
	delimited := func(texts ...string) string {
		var b []byte
		for _, s := range texts {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
		return string(b)
	}
	long := strings.Repeat("x", 200_000)
	for _, c := range []struct{ content, whole, torn string }{
		{file.Message, "", ""},
		{file.Message, "", "{"},
		{file.Message, "{}\n", ""},
		{file.Message, "{}\n{}\n", `{"a":`},
		{file.Payload, "a\n" + long + "\n", long},
		{file.Delimited, "", ""},
		{file.Delimited, "", "\x80"},
		{file.Delimited, delimited("one", long), ""},
		{file.Delimited, delimited("one", long), delimited("two")[:2]},
		{file.Delimited, delimited("one", long), "\xff\xff"},
		{file.Delimited, delimited("one"), "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
	} {
		path := filepath.Join(t.TempDir(), "out")
		if err := os.WriteFile(path, []byte(c.whole+c.torn), 0o600); err != nil {
			t.Fatal(err)
		}
		target := open(t, file.Config{Path: path, Content: c.content}, pump.Options{})
		r := prepared(t, target, &message.Message{Topic: "t", Payload: []byte("new")})
		send(t, target, r)
		target.Close()
		if text, err := os.ReadFile(path); err != nil || string(text) != c.whole+string(r.Value) {
			t.Errorf("%s %.20q+%.20q: %v, %d bytes", c.content, c.whole, c.torn, err, len(text))
		}
		if cut, _ := os.ReadFile(path + ".cut"); string(cut) != c.torn {
			t.Errorf("%s %.20q+%.20q: %.20q is kept", c.content, c.whole, c.torn, cut)
		}
	}
}

// Files are set aside by size, compressed, and kept as many as Keep.
func TestRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "out.jsonl")
	target := open(t, file.Config{Path: path, Content: file.Payload, Rotate: file.Rotate{Bytes: 1024, Keep: 3}}, pump.Options{})
	defer target.Close()
	for range 10 {
		send(t, target, prepared(t, target, &message.Message{Topic: "t", Payload: bytes.Repeat([]byte("x"), 1024)}))
	}
	eventually(t, func() bool {
		names, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
		packed := 0
		for _, name := range names {
			if strings.HasSuffix(name, ".gz") {
				packed++
			}
		}
		return packed == 3 && len(names) == 4
	})
	if all := readAll(t, path); len(all) != 4*1025 {
		t.Errorf("%d bytes", len(all))
	}
}

// A file of an earlier period is set aside, and what an earlier life has not compressed is compressed.
func TestRotateByTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	left := strings.TrimSuffix(path, ".jsonl") + "-20200101T000000.000Z.jsonl"
	for _, name := range []string{path, left, left + ".gz.partial"} {
		if err := os.WriteFile(name, []byte("old\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(path, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	target := open(t, file.Config{Path: path, Content: file.Payload, Rotate: file.Rotate{Every: 24 * time.Hour}}, pump.Options{})
	defer target.Close()
	send(t, target, prepared(t, target, &message.Message{Topic: "t", Payload: []byte("new")}))
	if text, err := os.ReadFile(path); err != nil || string(text) != "new\n" {
		t.Errorf("%v, %q", err, text)
	}
	eventually(t, func() bool {
		names, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
		return len(names) == 3 && strings.HasSuffix(names[0], ".gz") && strings.HasSuffix(names[1], ".gz")
	})
	if all := readAll(t, path); string(all) != "old\nold\nnew\n" {
		t.Errorf("%q", all)
	}
}

func eventually(t testing.TB, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not after a minute")
		}
	}
}

// Two sinks cannot write one file; a directory is a mistake in the configuration.
func TestPath(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.jsonl")
	first, second := open(t, file.Config{Path: path}, pump.Options{}), open(t, file.Config{Path: path}, pump.Options{})
	r := prepared(t, first, &message.Message{Topic: "t"})
	send(t, first, r)
	if _, err := second.Send(t.Context(), []*pump.Record{r}); err == nil || pump.IsMisconfigured(err) {
		t.Error(err)
	}
	first.Close()
	send(t, second, r)
	second.Close()
	if _, err := open(t, file.Config{Path: dir}, pump.Options{}).Send(t.Context(), []*pump.Record{r}); !pump.IsMisconfigured(err) {
		t.Error(err)
	}
}

// After a failure of the file the sink goes on, and what was confirmed is there once.
func TestFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	target := open(t, file.Config{Path: path, Content: file.Payload}, pump.Options{})
	defer target.Close()
	one, two := prepared(t, target, &message.Message{Topic: "t", Payload: []byte("one")}), prepared(t, target, &message.Message{Topic: "t", Payload: []byte("two")})
	send(t, target, one)
	if err := file.Break(target); err != nil {
		t.Fatal(err)
	}
	if done, err := target.Send(t.Context(), []*pump.Record{two}); done != 0 || err == nil || pump.IsMisconfigured(err) || pump.IsRefused(err) {
		t.Error(done, err)
	}
	send(t, target, two)
	if text, err := os.ReadFile(path); err != nil || string(text) != "one\ntwo\n" {
		t.Errorf("%v, %q", err, text)
	}
}
