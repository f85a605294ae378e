package format

import (
	"encoding/hex"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// TestCBORVectors has the examples of RFC 8949 appendix A that a tree holds. Those marked with ! are written in another way.
func TestCBORVectors(t *testing.T) {
	for data, want := range map[string]string{
		"00": `0`, "01": `1`, "0a": `10`, "17": `23`, "1818": `24`, "1819": `25`, "1864": `100`, "1903e8": `1000`, "1a000f4240": `1000000`,
		"1b000000e8d4a51000": `1000000000000`, "1bffffffffffffffff": `18446744073709551615`, "!c249010000000000000000": `18446744073709552000`,
		"!3bffffffffffffffff": `-18446744073709552000`, "!c349010000000000000000": `-18446744073709552000`, "20": `-1`, "29": `-10`, "3863": `-100`,
		"3903e7": `-1000`, "!c24101": `1`, "!c34101": `-2`, "!c240": `0`, "!c340": `-1`, "3b7fffffffffffffff": `-9223372036854775808`,
		"f90000": `0`, "f98000": `-0`, "f93c00": `1`, "fb3ff199999999999a": `1.1`, "f93e00": `1.5`, "f97bff": `65504`, "fa47c35000": `100000`,
		"fa7f7fffff": `3.4028234663852886e+38`, "fb7e37e43c8800759c": `1e+300`, "f90001": `5.960464477539063e-08`,
		"f90400": `0.00006103515625`, "f9c400": `-4`, "fbc010666666666666": `-4.1`, "f97c00": `"Infinity"`, "f97e00": `"NaN"`,
		"f9fc00": `"-Infinity"`, "!fa7f800000": `"Infinity"`, "!fa7fc00000": `"NaN"`, "!fb7ff8000000000000": `"NaN"`, "f4": `false`, "f5": `true`, "f6": `null`,
		"!f7": `null`, "!c074323031332d30332d32315432303a30343a30305a": `"2013-03-21T20:04:00Z"`, "!c11a514b67b0": `1363896240`,
		"!c1fb41d452d9ec200000": `1363896240.5`, "!d74401020304": `"AQIDBA=="`, "!d818456449455446": `"ZElFVEY="`, "40": `""`, "4401020304": `"AQIDBA=="`,
		"60": `""`, "6161": `"a"`, "6449455446": `"IETF"`, "62225c": `"\"\\"`, "62c3bc": `"ü"`, "63e6b0b4": `"水"`, "64f0908591": `"𐅑"`, "80": `[]`,
		"83010203": `[1,2,3]`, "8301820203820405": `[1,[2,3],[4,5]]`, "!98190102030405060708090a0b0c0d0e0f101112131415161718181819": `[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]`,
		"a0": `{}`, "!a201020304": `{"1":2,"3":4}`, "a26161016162820203": `{"a":1,"b":[2,3]}`, "826161a161626163": `["a",{"b":"c"}]`,
		"!5f42010243030405ff": `"AQIDBAU="`, "!7f657374726561646d696e67ff": `"streaming"`, "!9fff": `[]`, "!9f018202039f0405ffff": `[1,[2,3],[4,5]]`,
		"!bf61610161629f0203ffff": `{"a":1,"b":[2,3]}`, "!bf6346756ef563416d7421ff": `{"Fun":true,"Amt":-2}`,
		"!a120f6": `{"-1":null}`, "!7fff": `""`, // beyond the appendix
	} {
		plain := strings.TrimPrefix(data, "!")
		raw, err := hex.DecodeString(plain)
		if err != nil {
			t.Fatal(err)
		}
		v := decoded(t, cborFormat{}, string(raw)).Root()
		if got := asJSON(t, v); got != want {
			t.Errorf("%s: got %s, want %s", data, got, want)
		}
		if back := hex.EncodeToString([]byte(encoded(t, cborFormat{}, v))); back != plain && plain == data && plain != "98190102" {
			t.Errorf("%s: came back as %s", data, back)
		}
	}
}

func TestCBORRefuses(t *testing.T) {
	for data, want := range map[string]string{
		"":                               "the payload is cut off",
		"1b00":                           "the payload is cut off",
		"6261":                           "the payload is cut off",
		"7bffffffffffffffff":             "the payload is cut off",
		"61ff":                           "it is not UTF-8",
		"0000":                           "there is more behind the end",
		"1c":                             "CBOR at byte 0: want a head of RFC 8949",
		"1f":                             "want a head of RFC 8949",
		"ff":                             "want a value",
		"f0":                             "there is another simple value",
		"5f6161ff":                       "want a chunk of the same string",
		"5f5f4100ffff":                   "want a chunk of the same string",
		"8101ff":                         "there is more behind the end",
		"9bffffffffffffffff00":           "field [1]: the payload is cut off",
		"a2616101616102":                 "field a: a second time",
		"a2016001 613160":                "field 1: a second time",
		"a1f600":                         "want a text or an integer as a name",
		"a1616182 00a1616261ff":          "field a[1].b: it is not UTF-8",
		"c201":                           "want bytes in a bignum",
		"c2" + "5881" + zeros(129):       "the number is out of range",
		strings.Repeat("c6", 65) + "00":  "too deep",
		strings.Repeat("81", 65) + "00":  "too deep",
		"9a0010000000":                   "the payload is cut off",
		"9a00100000" + zeros(maxNodes+1): "too many values",
	} {
		raw, err := hex.DecodeString(strings.ReplaceAll(data, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if err := (cborFormat{}).Decode(new(Tree), raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", data, err, want)
		}
	}
}

func zeros(n int) string { return strings.Repeat("00", n) }

// Every half is the same number in half precision again.
func TestHalves(t *testing.T) {
	for h := range 1 << 16 {
		f := half(uint16(h))
		if back, ok := toHalf(float32(f)); !math.IsNaN(f) && (!ok || int(back) != h) {
			t.Errorf("%04x is %v, which is %04x, %v", h, f, back, ok)
		}
	}
}

// FuzzCBOR compares with fxamacker/cbor.
func FuzzCBOR(f *testing.F) {
	mode, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 65}.DecMode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("\xbf\x61\x61\x9f\x01\xf9\x3c\x00\xff\x61\x62\xc2\x41\x01\xff"))
	f.Add([]byte("\xa2\x61\x61\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a\x20\x42\x01\x02"))
	f.Fuzz(func(t *testing.T, data []byte) {
		again(t, cborFormat{}, data)
		tree := new(Tree)
		if (cborFormat{}).Decode(tree, data) != nil {
			return
		}
		if err := mode.Wellformed(data); err != nil && !strings.Contains(err.Error(), "nested") {
			t.Fatalf("%x is taken, and is not well-formed: %v", data, err)
		}
		out, err := cborFormat{}.Encode(nil, tree.Root())
		if err != nil {
			t.Fatal(err)
		}
		var got any
		if err := mode.Unmarshal(out, &got); err != nil {
			t.Fatalf("%x was written as %x: %v", data, out, err)
		}
		if !same(got, tree.Root()) {
			t.Fatalf("%x was written as %x, which is %v", data, out, got)
		}
	})
}

// same reports whether x, of another library, is v.
func same(x any, v Value) bool {
	switch x := x.(type) {
	case uint64:
		u, ok := v.Uint()
		return ok && u == x
	case int64:
		i, ok := v.Int()
		return ok && i == x
	case float64:
		f, ok := v.Float()
		return ok && (f == x || f != f && x != x)
	case []any:
		i := 0
		for e := range v.Elements() {
			if i >= len(x) || !same(x[i], e) {
				return false
			}
			i++
		}
		return i == len(x)
	case map[any]any:
		for name, e := range v.Fields() {
			if !same(x[name], e) {
				return false
			}
		}
		return len(x) == v.Len()
	}
	return reflect.DeepEqual(x, v.Any())
}
