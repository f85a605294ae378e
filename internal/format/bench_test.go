package format

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// telemetry is a row of a recording of an air quality station, as a device sends it.
const telemetry = `{"timestamp":"2016-01-01T00:00:00+08:00","PM2.5":209,"PM10":268,"SO2":47,"NO2":123,"CO":5300,"O3":13,"TEMP":-2.5,"PRES":1024.5,"DEWP":-8.2,"RAIN":0,"wd":"NNE","WSPM":1.1}`

const telemetrySchema = `{"type":"record","name":"Air","fields":[
	{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"PM2_5","json_name":"PM2.5","type":["null","double"]},{"name":"PM10","type":["null","double"]},{"name":"SO2","type":["null","double"]},
	{"name":"NO2","type":["null","double"]},{"name":"CO","type":["null","double"]},{"name":"O3","type":["null","double"]},
	{"name":"TEMP","type":["null","double"]},{"name":"PRES","type":["null","double"]},{"name":"DEWP","type":["null","double"]},
	{"name":"RAIN","type":["null","double"]},{"name":"wd","type":["null","string"]},{"name":"WSPM","type":["null","double"]}]}`

// BenchmarkJSONToAvro is the bar: at most 2 us of CPU time and 3 allocations.
func BenchmarkJSONToAvro(b *testing.B) {
	in, out := jsonFormat{}, avroOf(b, telemetrySchema, false)
	convert(b, in, out, []byte(telemetry))
}

func convert(b *testing.B, in, out Format, data []byte) {
	b.Helper()
	b.ReportAllocs()
	tree, dst := new(Tree), []byte(nil)
	start := cpuTime(b)
	for b.Loop() {
		if err := in.Decode(tree, data); err != nil {
			b.Fatal(err)
		}
		var err error
		if dst, err = out.Encode(dst[:0], tree.Root()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(len(dst)), "B/payload")
}

func BenchmarkCompression(b *testing.B) {
	src := []byte("[" + strings.Repeat(telemetry+",", 99) + telemetry + "]")
	for _, c := range []Compression{Gzip, Snappy, Zstd} {
		packed := c.Compress(nil, src)
		b.Run(string(c)+"/compress", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				packed = c.Compress(packed[:0], src)
			}
		})
		b.Run(string(c)+"/decompress", func(b *testing.B) {
			b.ReportAllocs()
			var out []byte
			for b.Loop() {
				var err error
				if out, err = c.Decompress(out[:0], packed, len(src)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// cpuTime returns the CPU time of the process, which other processes on the machine do not change.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// The other formats, out of and into a tree.
func BenchmarkFormats(b *testing.B) {
	for name, f := range map[string]Format{
		"json": jsonFormat{}, "cbor": cborFormat{}, "avro": avroOf(b, telemetrySchema, false), "protobuf": protobufOf(b, "test.Air", false), "xml": xmlFormat{"air", true},
	} {
		data := []byte(encoded(b, f, decoded(b, jsonFormat{}, telemetry).Root()))
		b.Run(name, func(b *testing.B) { convert(b, f, f, data) })
	}
}
