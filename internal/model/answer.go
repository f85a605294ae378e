package model

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/longline/longline/internal/model/inference"
)

// wanted is an output tensor that counts.
type wanted struct {
	name string
	at   int // the element that counts; -1 for all
}

// parseWanted parses NAME or NAME[NUMBER].
func parseWanted(text string) (w wanted, err error) {
	name, rest, picks := strings.Cut(text, "[")
	w = wanted{name, -1}
	if picks {
		number, closed := strings.CutSuffix(rest, "]")
		if w.at, err = strconv.Atoi(number); err != nil || !closed || w.at < 0 || w.at > mostElements {
			return w, fmt.Errorf("want a name such as score, or score[0], not %q", text)
		}
	}
	if name == "" || len(name) > 256 {
		return w, fmt.Errorf("want a name such as score, or score[0], not %q", text)
	}
	return w, nil
}

// output is an output tensor of an answer.
type output struct {
	wanted
	per int             // elements for each row
	get func(i int) any // an element
}

// row returns the output for a row: one value, or a list.
func (o *output) row(n int) any {
	switch {
	case o.wanted.at >= 0:
		return o.get(n*o.per + o.wanted.at)
	case o.per == 1:
		return o.get(n)
	}
	list := make([]any, o.per)
	for i := range list {
		list[i] = o.get(n*o.per + i)
	}
	return list
}

// readAnswer returns the outputs that count. rows is the number of rows in the call; batched says that it is the first size of the tensors.
func readAnswer(a *inference.ModelInferResponse, want []wanted, rows int, batched bool) ([]output, error) {
	if n := len(a.RawOutputContents); n > 0 && n != len(a.Outputs) {
		return nil, fmt.Errorf("there are %d outputs, and contents of %d", len(a.Outputs), n)
	}
	if len(want) == 0 {
		for _, o := range a.Outputs[:min(len(a.Outputs), mostTensors)] {
			want = append(want, wanted{o.Name, -1})
		}
	}
	var all []output
	for _, w := range want {
		at := slices.IndexFunc(a.Outputs, func(o *inference.ModelInferResponse_InferOutputTensor) bool { return o.Name == w.name })
		if at < 0 {
			return nil, fmt.Errorf("there is no output %s", w.name)
		}
		o, err := readOutput(a, at, w, rows, batched)
		if err != nil {
			return nil, fmt.Errorf("the output %s: %w", w.name, err)
		}
		all = append(all, o)
	}
	if len(all) == 0 {
		return nil, errors.New("there are no outputs")
	}
	return all, nil
}

func readOutput(a *inference.ModelInferResponse, at int, w wanted, rows int, batched bool) (o output, err error) {
	t := a.Outputs[at]
	k := kindOf(t.Datatype)
	if k == nil {
		return o, fmt.Errorf("its type is %q, not one of %s", t.Datatype, kindNames())
	}
	if batched && (len(t.Shape) == 0 || t.Shape[0] != int64(rows)) {
		return o, fmt.Errorf("its shape is %v, and %d messages were asked about", t.Shape, rows)
	}
	var have int
	if len(a.RawOutputContents) > 0 {
		o.get, have, err = rawElements(k, a.RawOutputContents[at])
	} else {
		o.get, have, err = listed(k, t.Contents)
	}
	if err != nil {
		return o, err
	}
	size := int64(1)
	for _, n := range t.Shape {
		if n < 1 || n > int64(have) || size > int64(have)/n {
			return o, fmt.Errorf("its shape is %v, and it has %d elements", t.Shape, have)
		}
		size *= n
	}
	if size != int64(have) {
		return o, fmt.Errorf("its shape is %v, and it has %d elements", t.Shape, have)
	}
	o.wanted, o.per = w, have/rows
	if w.at >= o.per {
		return o, fmt.Errorf("it has %d elements for a message", o.per)
	}
	return o, nil
}

// rawElements reads raw contents. The elements are views of them, or values.
func rawElements(k *kind, raw []byte) (get func(int) any, have int, err error) {
	if k.size > 0 {
		if len(raw)%k.size != 0 {
			return nil, 0, fmt.Errorf("%d bytes are no elements of %d", len(raw), k.size)
		}
		return func(i int) any { return k.at(raw[i*k.size:]) }, len(raw) / k.size, nil
	}
	var texts [][]byte
	for len(raw) > 0 {
		if len(raw) < 4 || uint64(binary.LittleEndian.Uint32(raw)) > uint64(len(raw)-4) {
			return nil, 0, errors.New("a text is longer than what is there")
		}
		n := 4 + int(binary.LittleEndian.Uint32(raw))
		texts = append(texts, raw[4:n])
		raw = raw[n:]
	}
	return func(i int) any { return text(texts[i]) }, len(texts), nil
}

// listed reads contents in the list of their type.
func listed(k *kind, c *inference.InferTensorContents) (get func(int) any, have int, err error) {
	switch k.name {
	case "BOOL":
		l := c.GetBoolContents()
		return func(i int) any { return l[i] }, len(l), nil
	case "INT8", "INT16", "INT32":
		l := c.GetIntContents()
		return func(i int) any { return int64(l[i]) }, len(l), nil
	case "INT64":
		l := c.GetInt64Contents()
		return func(i int) any { return l[i] }, len(l), nil
	case "UINT8", "UINT16", "UINT32":
		l := c.GetUintContents()
		return func(i int) any { return uint64(l[i]) }, len(l), nil
	case "UINT64":
		l := c.GetUint64Contents()
		return func(i int) any { return l[i] }, len(l), nil
	case "FP32":
		l := c.GetFp32Contents()
		return func(i int) any { return single(l[i]) }, len(l), nil
	case "FP64":
		l := c.GetFp64Contents()
		return func(i int) any { return double(l[i]) }, len(l), nil
	}
	l := c.GetBytesContents()
	return func(i int) any { return text(l[i]) }, len(l), nil
}
