package bench

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/longline/longline/internal/format"
)

func TestFormats(t *testing.T) {
	results, err := Formats(t.Context(), func(each func([]byte) error) error {
		for i := range 120 { // more than a batch
			value := fmt.Sprint(float64(i) / 8)
			if i%10 == 0 {
				value = `"NA"`
			}
			row := fmt.Sprintf(`{"station":"Gucheng","time":"2016-01-01T%02d:00:00+08:00","PM2.5":%s,"n":%d}`, i%24, value, i)
			if err := each([]byte(row)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]FormatResult)
	for _, r := range results {
		found[fmt.Sprintf("%s %s %d", r.Format, r.Compression, r.Batch)] = r
		if r.Messages != 120 || r.Bytes <= 0 {
			t.Errorf("%+v", r)
		}
	}
	if len(found) != 5*4*2 {
		t.Errorf("%d results", len(found))
	}
	for _, order := range [][2]string{
		{"avro none 1", "json none 1"}, {"protobuf none 1", "cbor none 1"}, {"json gzip 100", "json none 100"}, {"json none 1", "xml none 1"},
	} {
		if a, b := found[order[0]], found[order[1]]; a.Bytes >= b.Bytes {
			t.Errorf("%s has %v bytes, %s %v", order[0], a.Bytes, order[1], b.Bytes)
		}
	}
	var b strings.Builder
	if err := WriteFormats(&b, results); err != nil || strings.Count(b.String(), "\n| avro") != 8 {
		t.Errorf("%v, %s", err, &b)
	}
}

func TestFormatsErrors(t *testing.T) {
	broken := errors.New("broken")
	for want, rows := range map[string][]string{
		`message 2: JSON at byte 0: want a value`:                       {`{"a":1}`, `x`},
		`message 1: want rows that are maps, not a list`:                {`[1]`},
		`message 1: want texts and numbers in rows, not a list, in "a"`: {`{"a":[1]}`},
		`message 2: column "a" has numbers and texts`:                   {`{"a":1}`, `{"a":"x"}`},
		`message 1: broken`: {`{"a":1}`, `!`},
	} {
		_, err := Formats(t.Context(), func(each func([]byte) error) error {
			for _, row := range rows {
				if row == "!" {
					return broken
				}
				if err := each([]byte(row)); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestColumnsOfARecording(t *testing.T) {
	var all columns
	in, err := format.Open(format.Config{}, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{`{"a":1,"b":1.5,"c":"x","d":"2016-01-01 00:00:00"}`, `{"a":2,"b":"NA","c":"2016-01-01","d":"2016-01-01T00:00:00Z","e":1}`} {
		tree := new(format.Tree)
		if err := in.Decode(tree, []byte(row)); err != nil {
			t.Fatal(err)
		}
		if err := all.meet(tree.Root()); err != nil {
			t.Fatal(err)
		}
	}
	if err := all.finish(2); err != nil {
		t.Fatal(err)
	}
	one, _, err := all.avro()
	want := `{"fields":[{"json_name":"a","name":"c0","type":"long"},{"json_name":"b","name":"c1","type":["null","double"]},{"json_name":"c","name":"c2","type":"string"},` +
		`{"json_name":"d","name":"c3","type":{"logicalType":"timestamp-millis","type":"long"}},{"json_name":"e","name":"c4","type":["null","long"]}],"name":"Row","type":"record"}`
	if err != nil || one != want {
		t.Errorf("%s, %v", one, err)
	}
}
