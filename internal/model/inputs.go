package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/longline/longline/internal/route"
)

// inputs are the input tensors of a model, in the order of their names in the configuration. They are static and safe from any goroutine.
type inputs []input

// input is an input tensor.
type input struct {
	name    string // of the tensor
	kind    *kind
	fields  []element
	count   int     // elements of a message
	shape   []int64 // of a row, without the number of messages
	batched bool    // the number of messages is the first size of the tensor

	messages int // in a row
}

// element is one of the elements of an input, or several if it is a list.
type element struct {
	template route.Template
	optional bool // a message may lack it
	named    string
}

// parseInputs returns the inputs of a configuration whose Inputs are valid.
func parseInputs(c *Config) (all inputs, err error) {
	for _, key := range slices.Sorted(maps.Keys(c.Inputs)) {
		one, err := parseInput(c.Inputs[key], max(c.Window.Messages, 1))
		if err != nil {
			return nil, fmt.Errorf("inputs.%s.%w", key, err)
		}
		if one.name == "" {
			one.name = key
		}
		if one.batched != c.batched() {
			return nil, fmt.Errorf("inputs.%s.shape: want all shapes with -1 as the first size, or none", key)
		}
		all = append(all, one)
	}
	return all, nil
}

func parseInput(c Input, messages int) (i input, err error) {
	i = input{name: c.Name, kind: kindOf(c.Type), count: len(c.Fields), batched: true, messages: messages}
	for _, f := range c.Fields {
		e := element{named: f, optional: strings.HasSuffix(f, "?")}
		if e.template, err = route.ParseTemplate("{" + f + "}"); err != nil {
			return i, fmt.Errorf("fields: %q: %w", f, err)
		}
		i.fields = append(i.fields, e)
	}
	sizes := c.Shape
	switch {
	case len(sizes) == 0 && messages > 1:
		i.shape = []int64{int64(messages), int64(i.count)}
		return i, i.check(messages)
	case len(sizes) == 0:
		i.shape = []int64{int64(i.count)}
		return i, i.check(messages)
	case sizes[0] == anyNumber:
		sizes = sizes[1:]
	default:
		i.batched = false
	}
	all := 1
	for _, size := range sizes {
		n, err := strconv.Atoi(size)
		if err != nil || n < 1 || n > mostElements/all {
			return i, fmt.Errorf("shape: want at most %d elements for a message or a window", mostElements)
		}
		all *= n
		i.shape = append(i.shape, int64(n))
	}
	if all%messages != 0 {
		return i, fmt.Errorf("shape: has %d elements, which is no multiple of window.messages, %d", all, messages)
	}
	i.count = all / messages
	return i, i.check(messages)
}

// check returns why i cannot be.
func (i *input) check(messages int) error {
	switch {
	case i.count < len(i.fields):
		return fmt.Errorf("shape: has %d elements of a message, fewer than there are fields", i.count)
	case i.count > mostElements/messages:
		return fmt.Errorf("fields: want at most %d elements for a message or a window", mostElements)
	}
	return nil
}

// rowSize returns how many bytes a row has: what is in a call for one message, or for a window. Texts have no known size and do not count.
func (all inputs) rowSize() (n int) {
	for _, i := range all {
		n += i.kind.size * i.count * i.messages
	}
	return n
}

// texts reports whether there are elements without a fixed size.
func (all inputs) texts() bool {
	return slices.ContainsFunc(all, func(i input) bool { return i.kind.size == 0 })
}

// read appends the elements of a message to dst, input by input; ends are where each input's elements end in it.
func (all inputs) read(v *route.View, dst []byte, ends []int) ([]byte, []int, error) {
	var err error
	for n := range all {
		if dst, err = all[n].read(v, dst); err != nil {
			return dst, ends, err
		}
		if len(dst) > mostRow {
			return dst, ends, fmt.Errorf("its elements have more than %d bytes", mostRow)
		}
		ends = append(ends, len(dst))
	}
	return dst, ends, nil
}

// read appends the elements of a message to dst.
func (i *input) read(v *route.View, dst []byte) ([]byte, error) {
	left := i.count
	for _, e := range i.fields {
		x, err := e.template.Value(v)
		if err != nil {
			return dst, err
		}
		if x == nil && e.optional {
			x = missing{}
		}
		if dst, err = i.put(dst, x, &left); err != nil {
			return dst, fmt.Errorf("%s: %w", e.named, err)
		}
	}
	if left > 0 {
		return dst, fmt.Errorf("the input %s lacks %d of %d elements", i.name, left, i.count)
	}
	return dst, nil
}

var errTooMany = errors.New("there are more elements than the input has")

// put appends x, or its items, of which there may be left.
func (i *input) put(dst []byte, x any, left *int) (_ []byte, err error) {
	if items, ok := x.([]any); ok {
		for _, item := range items {
			if dst, err = i.put(dst, item, left); err != nil {
				return dst, err
			}
		}
		return dst, nil
	}
	if *left--; *left < 0 {
		return dst, errTooMany
	}
	if x == nil {
		return dst, errNull
	}
	put, err := i.kind.put(dst, x)
	if err != nil {
		return dst, err
	}
	return put, nil
}

var errNull = errors.New("it is null")
