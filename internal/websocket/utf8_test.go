package websocket

import (
	"testing"
	"unicode/utf8"
)

// check runs a text through the checker in pieces.
func checkUTF8(p []byte, size int) bool {
	var c utf8Checker
	for ; len(p) > size; p = p[size:] {
		if !c.write(p[:size]) {
			return false
		}
	}
	return c.write(p) && c.complete()
}

// Every sequence of two bytes, and of four around the limits, against unicode/utf8.
func TestUTF8(t *testing.T) {
	edges := []byte{0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF}
	for a := range 256 {
		for b := range 256 {
			compareUTF8(t, []byte{byte(a), byte(b)})
		}
	}
	for _, a := range edges {
		for _, b := range edges {
			for _, c := range edges {
				for _, d := range edges {
					compareUTF8(t, []byte{a, b, c, d})
				}
			}
		}
	}
}

func compareUTF8(t *testing.T, p []byte) {
	t.Helper()
	want := utf8.Valid(p)
	if got := validUTF8(p); got != want {
		t.Fatalf("%x whole: %v, want %v", p, got, want)
	}
	for _, size := range []int{1, 2, 3, 33} {
		if got := checkUTF8(p, size); got != want {
			t.Fatalf("%x in pieces of %d: %v, want %v", p, size, got, want)
		}
	}
}

func FuzzUTF8(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef Größe 温度 " + codePoint))
	f.Add([]byte("01234567\xed\xa0\x80"))
	f.Fuzz(func(t *testing.T, p []byte) { compareUTF8(t, p) })
}
