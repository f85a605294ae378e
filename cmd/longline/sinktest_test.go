package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sinksFile = `
streams:
  telemetry: {filters: [device/+/telemetry]}
sinks:
  archive:
    stream: telemetry
    where: payload.t > 20
    set: {id: "{source}", kind: "{topic[2]}"}
    drop: [secret]
    file: {path: out.jsonl}
  packed:
    stream: telemetry
    format: cbor
    file: {path: out.bin, content: delimited}
`

// Users see what a sink would write of a message, or why it would write nothing.
func TestSinkTest(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("c.yaml", sinksFile)
	write("m.json", `{"topic":"device/m-7/telemetry","source":"m-7","place":"77","ts":1795766400000,"props":{"unit":"kW"},"payload":{"t":21.5,"secret":1}}`)
	write("bytes.json", `{"topic":"device/m-7/telemetry","type":"application/cbor","data":"oWF0GCo="}`)
	write("two.json", `{"topic":"t","payload":1,"text":"1"}`)
	write("none.json", `{"payload":1}`)
	write("unknown.json", `{"topic":"t","colour":1}`)
	for _, c := range []struct {
		args, in string
		code     int
		want     []string // in what is printed
	}{
		{"archive --message m.json", "", 0, []string{"sink archive (file), message 1/telemetry/77", "key m-7", `"payload":{"t":21.5,"id":"m-7","kind":"telemetry"}`, `"time":"2026-11-27T08:00:00.000Z"`, "kW"}},
		{"archive --message -", `{"topic":"device/m-7/telemetry","text":"{\"t\":30}"}`, 0, []string{`"payload":{"t":30,"id":"","kind":"telemetry"}`}},
		{"archive --message bytes.json", "", 0, []string{"content type application/cbor", "payload_base64"}},
		{`archive --topic device/m-7/telemetry --payload {"t":21}`, "", 0, []string{`"payload":{"t":21,"id":"","kind":"telemetry"}`}},
		{`archive --topic device/m-7/telemetry --payload {"t":19}`, "", 0, []string{"archive does not get this message: where is false"}},
		{`archive --topic device/m-7/events --payload {"t":21}`, "", 0, []string{"archive does not get this message: no filter of the stream telemetry matches its topic"}},
		{`archive --topic device/m-7/telemetry --payload {}`, "", 1, []string{"this message would be a dead letter: where: no such key: t"}},
		{`archive --topic device/m-7/telemetry --payload x`, "", 1, []string{"this message would be a dead letter: payload: JSON at byte 0"}},
		{`archive --topic device/m-7/telemetry --payload {"t":21} --set sinks.archive.drop=[t]`, "", 0, []string{`"payload":{"id":"","kind":"telemetry"}`}},
		{`packed --topic device/m-7/telemetry --payload {"t":42}`, "", 0, []string{"content type application/cbor", "value 6 bytes", "00000000 05 a1 61 74 18 2a"}},
		{"packed --topic device/m-7/telemetry --payload {", "", 1, []string{"this message would be a dead letter: payload: JSON"}},

		{"archive", "", 2, []string{"want a message: --message FILE, or"}},
		{"archive --payload x", "", 2, []string{"--payload and --source go with --topic"}},
		{"archive --message gone.json", "", 1, []string{"gone.json"}},
		{"archive --message two.json", "", 1, []string{"two.json: want one of payload, text and data"}},
		{"archive --message none.json", "", 1, []string{"none.json: topic: is missing"}},
		{"archive --message unknown.json", "", 1, []string{`unknown.json: json: unknown field "colour"`}},
		{"archive --topic device/m-7/telemetry --set sinks.archive.format.avro.schema_file=gone.avsc", "", 1, []string{"longline: sinks.archive.format.avro.schema_file: open gone.avsc"}},
		{"other --topic t", "", 1, []string{"other: the configuration has no such sink"}},
		{"archive --topic t --set sinks.archive.where=payload.t>", "", 1, []string{"sinks.archive.where: character 11: "}},
	} {
		var out, errs bytes.Buffer
		code := Run(t.Context(), append([]string{"sink", "test", "--config", "c.yaml"}, strings.Fields(c.args)...), strings.NewReader(c.in), &out, &errs)
		got := strings.Join(strings.Fields(out.String()+errs.String()), " ")
		for _, want := range c.want {
			if code != c.code || !strings.Contains(got, want) {
				t.Errorf("%s: code %d, %s\nwant %d, %s", c.args, code, got, c.code, want)
			}
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 6 {
		t.Errorf("files were made: %v, %v", entries, err)
	}
}

// What is wrong with a route is found where it is.
func TestConfigCheckOfSinks(t *testing.T) {
	for change, want := range map[[2]string]string{
		{"", ""}:                                     "nothing is wrong",
		{"payload.t > 20", "payload.t > x"}:          ":7:12: sinks.archive.where: character 13: undeclared reference to 'x'",
		{"{topic[2]}", "{topic[a]}"}:                 `:8:33: sinks.archive.set.kind: template "{topic[a]}", character 1: {topic[a]}: want a level`,
		{"[secret]", "[a..b]"}:                       `:9:11: sinks.archive.drop: "a..b": want the path of a field`,
		{"cbor", "{avro: {schema_file: gone.avsc}}"}: ":13:34: sinks.packed.format.avro.schema_file: ",
		{"out.jsonl", "gone/out.jsonl"}:              "nothing is wrong", // its folder may be made before the first message comes
	} {
		name := filepath.Join(t.TempDir(), "c.yaml")
		text := strings.Replace("store: {path: data}"+sinksFile, change[0], change[1], 1)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		code := Run(t.Context(), []string{"config", "check", name}, nil, &out, &errs)
		if got := out.String() + errs.String(); !strings.Contains(got, want) || (code == 0) != (want == "nothing is wrong") {
			t.Errorf("%q: code %d, %s\nwant %s", change, code, got, want)
		}
	}
}
