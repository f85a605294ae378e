package format

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

var compressions = []Compression{"", None, Gzip, Snappy, Zstd}

func TestCompression(t *testing.T) {
	noise := make([]byte, 100_000)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(noise)
	for _, c := range compressions {
		for _, src := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("telemetry "), 30_000), noise} {
			packed := c.Compress([]byte("before"), src)
			if !bytes.HasPrefix(packed, []byte("before")) {
				t.Fatalf("%s: what was there is lost", c)
			}
			packed = packed[len("before"):]
			out, err := c.Decompress([]byte("before"), packed, len(src))
			if err != nil || string(out) != "before"+string(src) {
				t.Errorf("%s of %d bytes: %d bytes, %v", c, len(src), len(out), err)
			}
			if len(src) == 0 {
				continue
			}
			if out, err := c.Decompress([]byte("before"), packed, len(src)-1); err == nil || !strings.Contains(err.Error(), "more than") || string(out) != "before" {
				t.Errorf("%s of %d bytes into one less: %d bytes, %v", c, len(src), len(out), err)
			}
			if out, err := c.Decompress(nil, packed[:len(packed)-1], len(src)); c.Compressed() && err == nil {
				t.Errorf("%s cut off: %d bytes", c, len(out))
			}
		}
	}
	if (Compression("lzma")).Validate() == nil {
		t.Error("lzma is valid")
	}
}

// A frame of zstd that does not say its size is read within the bound, and several frames are together within it.
func TestZstdFrames(t *testing.T) {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	src := strings.Repeat("telemetry ", 50_000)
	if _, err := io.WriteString(w, src); err != nil || w.Flush() != nil || w.Close() != nil {
		t.Fatal(err)
	}
	two := append(Zstd.Compress(nil, []byte("first")), b.Bytes()...)
	if out, err := Zstd.Decompress(nil, two, len(src)+5); err != nil || string(out) != "first"+src {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	for _, packed := range [][]byte{b.Bytes(), two} {
		if _, err := Zstd.Decompress(nil, packed, len(src)-1); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%v", err)
		}
	}
}

func TestCompressionFromManyGoroutines(t *testing.T) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			src := bytes.Repeat([]byte{byte(i), 1, 2}, 1000)
			for range 50 {
				for _, c := range compressions {
					if out, err := c.Decompress(nil, c.Compress(nil, src), len(src)); err != nil || !bytes.Equal(out, src) {
						t.Errorf("%s: %v", c, err)
					}
				}
			}
		})
	}
	all.Wait()
}

// FuzzDecompress checks that no compression makes more than it may.
func FuzzDecompress(f *testing.F) {
	for _, c := range compressions {
		f.Add(c.Compress(nil, []byte(strings.Repeat("telemetry ", 50))))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, c := range compressions {
			if out, err := c.Decompress(nil, data, 1000); len(out) > 1000 || err != nil && len(out) > 0 {
				t.Fatalf("%s: %d bytes, %v", c, len(out), err)
			}
		}
	})
}
