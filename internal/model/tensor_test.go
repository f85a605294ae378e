package model

import (
	"encoding/binary"
	"math"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/longline/longline/internal/model/inference"
)

// What is put into a tensor comes out of it; what does not fit is an error.
func TestKinds(t *testing.T) {
	for _, c := range []struct {
		kind    string
		in, out any
	}{
		{"BOOL", true, true}, {"BOOL", false, false}, {"BOOL", int64(1), nil},
		{"INT8", int64(-128), int64(-128)}, {"INT8", int64(128), nil}, {"INT8", uint64(128), nil}, {"INT8", 127.0, int64(127)}, {"INT8", 0.5, nil}, {"INT8", true, int64(1)},
		{"INT16", int64(-32768), int64(-32768)}, {"INT16", int64(32768), nil},
		{"INT32", int64(math.MinInt32), int64(math.MinInt32)}, {"INT32", int64(math.MaxInt32 + 1), nil},
		{"INT64", int64(math.MinInt64), int64(math.MinInt64)}, {"INT64", uint64(1 << 63), nil}, {"INT64", math.Exp2(63), nil}, {"INT64", math.NaN(), nil}, {"INT64", "1", nil},
		{"UINT8", int64(255), uint64(255)}, {"UINT8", int64(256), nil}, {"UINT8", int64(-1), nil}, {"UINT8", -1.0, nil}, {"UINT8", true, uint64(1)},
		{"UINT16", uint64(65535), uint64(65535)}, {"UINT16", uint64(65536), nil},
		{"UINT32", 4294967295.0, uint64(math.MaxUint32)}, {"UINT32", 4294967296.0, nil},
		{"UINT64", uint64(math.MaxUint64), uint64(math.MaxUint64)}, {"UINT64", math.Exp2(64), nil}, {"UINT64", math.NaN(), nil}, {"UINT64", "1", nil},
		{"FP32", 0.1, float32(0.1)}, {"FP32", 1e39, nil}, {"FP32", math.Inf(-1), nil}, {"FP32", math.NaN(), nil}, {"FP32", "x", nil}, {"FP32", uint64(7), float32(7)},
		{"FP64", 1e39, 1e39}, {"FP64", int64(-7), -7.0}, {"FP64", math.Inf(1), nil}, {"FP64", nil, nil}, {"FP64", map[string]any{}, nil},
		{"BYTES", "müde", "müde"}, {"BYTES", []byte{0xff}, []byte{0xff}}, {"BYTES", "", ""}, {"BYTES", string(make([]byte, mostText+1)), nil}, {"BYTES", 1.0, nil},
	} {
		k := kindOf(c.kind)
		raw, err := k.put([]byte("before"), c.in)
		if err != nil {
			if c.out != nil {
				t.Errorf("%s %v: %v", c.kind, c.in, err)
			}
			continue
		}
		get, n, err := rawElements(k, raw[len("before"):])
		if err != nil || n != 1 || !reflect.DeepEqual(get(0), c.out) {
			t.Errorf("%s %v: %v elements, %v", c.kind, c.in, n, err)
		}
	}
}

func TestBadAnswers(t *testing.T) {
	answer := func(kind string, shape []int64, raw string) *inference.ModelInferResponse {
		return &inference.ModelInferResponse{
			Outputs:           []*inference.ModelInferResponse_InferOutputTensor{{Name: "score", Datatype: kind, Shape: shape}},
			RawOutputContents: [][]byte{[]byte(raw)},
		}
	}
	want := []wanted{{"score", -1}}
	if _, err := readAnswer(answer("UINT8", []int64{2, 3}, "abcdef"), want, 2, true); err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]*inference.ModelInferResponse{
		"nothing":             {},
		"another type":        answer("FP16", []int64{2}, "abcd"),
		"too few messages":    answer("UINT8", []int64{1, 6}, "abcdef"),
		"no shape":            answer("UINT8", nil, "abcdef"),
		"too few elements":    answer("UINT8", []int64{2, 3}, "abcde"),
		"too many elements":   answer("UINT8", []int64{2, 3}, "abcdefg"),
		"no elements":         answer("UINT8", []int64{2, 0}, ""),
		"a huge shape":        answer("UINT8", []int64{2, math.MaxInt64, math.MaxInt64}, "ab"),
		"a negative shape":    answer("UINT8", []int64{2, -1, -3}, "abcdef"),
		"half an element":     answer("FP32", []int64{2}, "abcdefg"),
		"a long text":         answer("BYTES", []int64{2}, "\x00\x00\x00\x00\xff\xff\xff\xff"),
		"half a length":       answer("BYTES", []int64{2}, "\x00\x00\x00\x00\xff"),
		"contents of another": {Outputs: answer("UINT8", []int64{2}, "").Outputs, RawOutputContents: [][]byte{{1, 2}, {3}}},
		"no contents":         {Outputs: answer("UINT8", []int64{2}, "").Outputs},
	} {
		if _, err := readAnswer(a, want, 2, true); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// An answer is an error, or has an element for each place that its shape has.
func FuzzAnswer(f *testing.F) {
	for _, k := range kinds {
		var raw []byte
		if k.size == 0 {
			raw = append(binary.LittleEndian.AppendUint32(nil, 2), "ab\x00\x00\x00\x00"...)
		} else {
			raw = make([]byte, 2*k.size)
		}
		b, err := proto.Marshal(&inference.ModelInferResponse{
			Outputs: []*inference.ModelInferResponse_InferOutputTensor{{Name: "score", Datatype: k.name, Shape: []int64{2}}}, RawOutputContents: [][]byte{raw},
		})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, 2, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, rows int, batched bool) {
		var a inference.ModelInferResponse
		if proto.Unmarshal(b, &a) != nil || rows < 1 || rows > 100 || !batched && rows > 1 {
			return
		}
		for _, want := range [][]wanted{nil, {{"score", -1}}, {{"score", 1}}} {
			outputs, err := readAnswer(&a, want, rows, batched)
			if err != nil {
				continue
			}
			for _, o := range outputs {
				for n := range rows {
					if list, ok := o.row(n).([]any); ok && len(list) != o.per {
						t.Errorf("%d of %d elements", len(list), o.per)
					}
				}
			}
		}
	})
}
