package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

var update = flag.Bool("update", false, "write the expected lines of testdata again")

// scenario is one paragraph of a golden file: lines of a key and a value.
type scenario struct {
	comments []string
	keys     []string
	values   map[string]string
}

func (s *scenario) set(key, value string) {
	if _, ok := s.values[key]; !ok {
		s.keys = append(s.keys, key)
	}
	s.values[key] = value
}

func readScenarios(t testing.TB, path string) []*scenario {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []*scenario
	for paragraph := range strings.SplitSeq(strings.TrimRight(string(raw), "\n"), "\n\n") {
		s := &scenario{values: map[string]string{}}
		for line := range strings.SplitSeq(paragraph, "\n") {
			if strings.HasPrefix(line, "#") {
				s.comments = append(s.comments, line)
				continue
			}
			key, value, _ := strings.Cut(line, " ")
			s.set(key, value)
		}
		all = append(all, s)
	}
	return all
}

// checkScenarios runs every scenario: run returns the lines that are expected.
func checkScenarios(t *testing.T, path string, run func(t *testing.T, s *scenario) [][2]string) {
	var out strings.Builder
	for i, s := range readScenarios(t, path) {
		if len(s.keys) > 0 {
			name := fmt.Sprintf("%d %s", i, s.values[s.keys[0]])
			t.Run(name, func(t *testing.T) {
				for _, line := range run(t, s) {
					if got, want := line[1], s.values[line[0]]; got != want && !*update {
						t.Errorf("%s\n got %s\nwant %s", line[0], got, want)
					}
					s.set(line[0], line[1])
				}
			})
		}
		for _, c := range s.comments {
			fmt.Fprintln(&out, c)
		}
		for _, k := range s.keys {
			fmt.Fprintln(&out, strings.TrimRight(k+" "+s.values[k], " "))
		}
		fmt.Fprintln(&out)
	}
	if *update {
		if err := os.WriteFile(path, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPackets(t *testing.T) {
	checkScenarios(t, "testdata/packets.txt", func(t *testing.T, s *scenario) [][2]string {
		in, ok := s.values["in"]
		if !ok {
			in = s.values["json"]
		}
		var p Packet
		decode(t, JSON, &p, []byte(in))
		asJSON, asProto := encode(t, JSON, &p), encode(t, Protobuf, &p)

		var back Packet
		decode(t, Protobuf, &back, bytes.Clone(asProto))
		if got := encode(t, JSON, &back); !bytes.Equal(got, asJSON) {
			t.Errorf("by way of protobuf:\n got %s\nwant %s", got, asJSON)
		}
		return [][2]string{
			{"json", string(asJSON)},
			{"protobuf", fmt.Sprintf("% x", asProto)},
			{"message", protoJSON(t, asProto)},
		}
	})
}

func TestRefused(t *testing.T) {
	codecs := map[string]struct {
		Codec
		text bool
	}{
		"json": {JSON, true}, "json-binary": {JSON, false},
		"protobuf": {Protobuf, false}, "protobuf-text": {Protobuf, true},
	}
	checkScenarios(t, "testdata/refused.txt", func(t *testing.T, s *scenario) [][2]string {
		c, frame := codecs[s.keys[0]], []byte(s.values[s.keys[0]])
		if c.Codec == Protobuf {
			frame = unhex(t, string(frame))
		}
		var p Packet
		err := c.Decode(&p, frame, c.text)
		var refused *Close
		if !errors.As(err, &refused) {
			t.Fatalf("%v, want a *Close", err)
		}
		return [][2]string{{"close", fmt.Sprintf("%d %s", refused.Code, refused)}}
	})
}

// This package encodes the packets that docs/protocol.md shows.
func TestDocumentedPackets(t *testing.T) {
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile(`(?m)^    [<>] ({.*})$`).FindAllSubmatch(doc, -1)
	if len(shown) == 0 {
		t.Fatal("none found")
	}
	for _, line := range shown {
		var p Packet
		decode(t, JSON, &p, bytes.Clone(line[1]))
		if got := encode(t, JSON, &p); !bytes.Equal(got, line[1]) {
			t.Errorf("\n got %s\nwant %s", got, line[1])
		}
	}
}

func decode(t testing.TB, c Codec, p *Packet, frame []byte) {
	t.Helper()
	if err := c.Decode(p, frame, c.Text()); err != nil {
		t.Fatalf("%s does not decode %q: %v", c.Name(), frame, err)
	}
}

func encode(t testing.TB, c Codec, p *Packet) []byte {
	t.Helper()
	b, err := c.Append(nil, p)
	if err != nil {
		t.Fatalf("%s does not encode %+v: %v", c.Name(), p, err)
	}
	return b
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// protoJSON returns what the generated code reads in frame.
func protoJSON(t *testing.T, frame []byte) string {
	t.Helper()
	var m longlinev1.Packet
	if err := proto.Unmarshal(frame, &m); err != nil {
		t.Fatal(err)
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer // protojson puts blanks at random
	if err := json.Compact(&compact, b); err != nil {
		t.Fatal(err)
	}
	return compact.String()
}
