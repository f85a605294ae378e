package websocket

import (
	"bytes"
	"fmt"
	"testing"
)

// telemetry returns a device's message: n bytes of JSON.
func telemetry(n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, `{"op":"pub","topic":"device/%d/meter","payload":{"voltage":%d.%d,"current":%d}},`, i%7, 229+i%4, i*37%100, i*i%32)
	}
	return b[:n]
}

func BenchmarkMask(b *testing.B) {
	for _, n := range []int{16, 128, 1 << 10, 64 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := make([]byte, n)
			b.SetBytes(int64(n))
			key := uint32(0x12345678)
			for b.Loop() {
				key = mask(p, key)
			}
		})
	}
}

func BenchmarkReaderNext(b *testing.B) {
	for _, n := range []int{16, 128, 4 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var r Reader
			r.Init(&Config{}, false)
			p := AppendMaskedFrame(nil, Text, telemetry(n), 0)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				if _, ev, err := r.Next(p); ev.Op != Text || err != nil {
					b.Fatal(ev.Op, err)
				}
			}
		})
	}
}

// A frame that is split over two reads.
func BenchmarkReaderHalves(b *testing.B) {
	var r Reader
	r.Init(&Config{}, false)
	p := AppendMaskedFrame(nil, Text, telemetry(128), 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, ev, err := r.Next(p[:70]); ev.Op != 0 || err != nil {
			b.Fatal(ev.Op, err)
		}
		if _, ev, err := r.Next(p[70:]); ev.Op != Text || err != nil {
			b.Fatal(ev.Op, err)
		}
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	payload, dst := telemetry(128), make([]byte, 0, 256)
	b.SetBytes(128)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendFrame(dst[:0], Text, payload)
	}
}

func BenchmarkDeflate(b *testing.B) {
	for _, n := range []int{256, 1 << 10, 16 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			payload, dst := telemetry(n), make([]byte, 0, 2*n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendCompressed(dst[:0], Text, payload, FullWindow, 0)
			}
			b.ReportMetric(float64(len(dst))/float64(n), "ratio")
		})
	}
}

func BenchmarkInflate(b *testing.B) {
	for _, n := range []int{256, 1 << 10, 16 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var r Reader
			r.Init(&Config{}, true)
			p := AppendMaskedCompressed(nil, Text, telemetry(n), 0, 0)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				if _, ev, err := r.Next(p); len(ev.Payload) != n || err != nil {
					b.Fatal(len(ev.Payload), err)
				}
			}
		})
	}
}

func BenchmarkParseRequest(b *testing.B) {
	p := []byte(browserRequest)
	var req Request
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRequest(p, &req, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendUpgrade(b *testing.B) {
	req := &Request{Key: []byte("dGhlIHNhbXBsZSBub25jZQ=="), Window: FullWindow}
	dst := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendUpgrade(dst[:0], req, "longline.v1.json", true)
	}
}

func BenchmarkUTF8(b *testing.B) {
	for name, p := range map[string][]byte{"ascii": telemetry(4096), "mixed": bytes.Repeat([]byte("Größe 温度 "), 250)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				var c utf8Checker
				c.write(p)
			}
		})
	}
}
