package model

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// kind is a type of tensors.
type kind struct {
	name string
	size int // of an element in bytes; 0 for BYTES, whose elements are behind their length, in 4 bytes
	put  func(dst []byte, x any) ([]byte, error)
	at   func(b []byte) any // the element that b begins with; nil for BYTES
}

// The types of tensors. FP16 and BF16 are missing: models that take them take FP32 as well.
var kinds = []kind{
	{"BOOL", 1, putBool, func(b []byte) any { return b[0] != 0 }},
	{"INT8", 1, whole(8), func(b []byte) any { return int64(int8(b[0])) }},
	{"INT16", 2, whole(16), func(b []byte) any { return int64(int16(binary.LittleEndian.Uint16(b))) }},
	{"INT32", 4, whole(32), func(b []byte) any { return int64(int32(binary.LittleEndian.Uint32(b))) }},
	{"INT64", 8, whole(64), func(b []byte) any { return int64(binary.LittleEndian.Uint64(b)) }},
	{"UINT8", 1, natural(8), func(b []byte) any { return uint64(b[0]) }},
	{"UINT16", 2, natural(16), func(b []byte) any { return uint64(binary.LittleEndian.Uint16(b)) }},
	{"UINT32", 4, natural(32), func(b []byte) any { return uint64(binary.LittleEndian.Uint32(b)) }},
	{"UINT64", 8, natural(64), func(b []byte) any { return binary.LittleEndian.Uint64(b) }},
	{"FP32", 4, putFP32, func(b []byte) any { return single(math.Float32frombits(binary.LittleEndian.Uint32(b))) }},
	{"FP64", 8, putFP64, func(b []byte) any { return double(math.Float64frombits(binary.LittleEndian.Uint64(b))) }},
	{"BYTES", 0, putText, nil},
}

// kindOf returns the type of a name, nil if there is none.
func kindOf(name string) *kind {
	if i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name }); i >= 0 {
		return &kinds[i]
	}
	return nil
}

func kindNames() string {
	var all []string
	for _, k := range kinds {
		all = append(all, k.name)
	}
	return strings.Join(all, ", ")
}

// missing is the value of a part that a message may lack and does.
type missing struct{}

// errNumber is what is wrong with an element that is no number.
var errNumber = errors.New("want a number")

func putBool(dst []byte, x any) ([]byte, error) {
	b, ok := x.(bool)
	switch {
	case !ok:
		return nil, errors.New("want true or false")
	case b:
		return append(dst, 1), nil
	}
	return append(dst, 0), nil
}

// whole returns the put of a signed type.
func whole(bits int) func([]byte, any) ([]byte, error) {
	return func(dst []byte, x any) ([]byte, error) {
		var n int64
		switch x := x.(type) {
		case bool:
			if x {
				n = 1
			}
		case int64:
			n = x
		case uint64:
			if x > math.MaxInt64 {
				return nil, fmt.Errorf("%d does not fit %d bits", x, bits)
			}
			n = int64(x)
		case float64:
			if x != math.Trunc(x) || math.Abs(x) >= 1<<63 {
				return nil, fmt.Errorf("want a whole number of %d bits, not %v", bits, x)
			}
			n = int64(x)
		default:
			return nil, errNumber
		}
		if n<<(64-bits)>>(64-bits) != n {
			return nil, fmt.Errorf("%d does not fit %d bits", n, bits)
		}
		return appendBits(dst, uint64(n), bits), nil
	}
}

// natural returns the put of an unsigned type.
func natural(bits int) func([]byte, any) ([]byte, error) {
	return func(dst []byte, x any) ([]byte, error) {
		var n uint64
		switch x := x.(type) {
		case bool:
			if x {
				n = 1
			}
		case int64:
			if x < 0 {
				return nil, fmt.Errorf("%d is negative", x)
			}
			n = uint64(x)
		case uint64:
			n = x
		case float64:
			if x != math.Trunc(x) || x < 0 || x >= 1<<64 {
				return nil, fmt.Errorf("want a whole number of %d bits, 0 or more, not %v", bits, x)
			}
			n = uint64(x)
		default:
			return nil, errNumber
		}
		if n<<(64-bits)>>(64-bits) != n {
			return nil, fmt.Errorf("%d does not fit %d bits", n, bits)
		}
		return appendBits(dst, n, bits), nil
	}
}

// appendBits appends the lowest bits of n, little-endian.
func appendBits(dst []byte, n uint64, bits int) []byte {
	var room [8]byte
	binary.LittleEndian.PutUint64(room[:], n)
	return append(dst, room[:bits/8]...)
}

func putFP32(dst []byte, x any) ([]byte, error) {
	f, err := number(x)
	if err != nil {
		return nil, err
	}
	if math.Abs(f) > math.MaxFloat32 { // not NaN
		return nil, fmt.Errorf("%v does not fit 32 bits", f)
	}
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f))), nil
}

func putFP64(dst []byte, x any) ([]byte, error) {
	f, err := number(x)
	if err != nil {
		return nil, err
	}
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f)), nil
}

// number returns x as a number that is not infinite. Only what is missing is NaN.
func number(x any) (float64, error) {
	switch x := x.(type) {
	case missing:
		return math.NaN(), nil
	case bool:
		if x {
			return 1, nil
		}
		return 0, nil
	case int64:
		return float64(x), nil
	case uint64:
		return float64(x), nil
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return 0, fmt.Errorf("want a finite number, not %v", x)
		}
		return x, nil
	}
	return 0, errNumber
}

func putText(dst []byte, x any) ([]byte, error) {
	var text []byte
	switch x := x.(type) {
	case string:
		text = []byte(x)
	case []byte:
		text = x
	default:
		return nil, errors.New("want a text")
	}
	if len(text) > mostText {
		return nil, fmt.Errorf("the text has %d bytes, more than %d", len(text), mostText)
	}
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(text))), text...), nil
}

// single returns an element of an output as a value of a payload, which has no NaN and no infinite numbers.
func single(f float32) any {
	if f64 := float64(f); math.IsNaN(f64) || math.IsInf(f64, 0) {
		return nil
	}
	return f
}

// double is single for 64 bits.
func double(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return f
}

// text returns an element of type BYTES as a value of a payload: a text if it is UTF-8.
func text(b []byte) any {
	if utf8.Valid(b) {
		return string(b)
	}
	return slices.Clone(b)
}
