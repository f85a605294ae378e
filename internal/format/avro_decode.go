package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// avroDecoder reads one payload.
type avroDecoder struct {
	tree *Tree
	data []byte // what is left
}

var (
	errCutOff = errors.New("the payload is cut off")
	errBehind = errors.New("there is more behind the end")
)

// value makes the null node i the next value.
func (d *avroDecoder) value(t *avroType, i int32) error {
	switch t.kind {
	case avroUnion:
		branch, err := d.index(len(t.branches), "branch of the union")
		if err != nil {
			return err
		}
		return d.value(t.branches[branch], i)
	case avroRecord:
		return d.record(t, i)
	case avroArray, avroMap:
		return d.blocks(t, i)
	}
	if t.logical != avroPlain {
		return d.logical(t, i)
	}
	return d.scalar(t, &d.tree.nodes[i])
}

func (d *avroDecoder) scalar(t *avroType, n *node) error {
	switch t.kind {
	case avroBoolean:
		p, err := d.take(1)
		if err == nil && p[0] > 1 {
			err = errors.New("want 0 or 1 for a boolean")
		}
		if err == nil {
			n.setBool(p[0] == 1)
		}
		return err
	case avroInt, avroLong:
		v, err := d.long(t.kind == avroInt)
		n.setInt(v)
		return err
	case avroFloat:
		p, err := d.take(4)
		if err == nil {
			n.setFloat(float64(math.Float32frombits(binary.LittleEndian.Uint32(p))))
			n.single = true
		}
		return err
	case avroDouble:
		p, err := d.take(8)
		if err == nil {
			n.setFloat(math.Float64frombits(binary.LittleEndian.Uint64(p)))
		}
		return err
	case avroString:
		text, err := d.text()
		n.kind, n.text = Text, text
		return err
	case avroEnum:
		symbol, err := d.index(len(t.symbols), "symbol of the enum")
		if err == nil {
			n.kind, n.text = Text, t.symbols[symbol]
		}
		return err
	case avroBytes, avroFixed:
		p, err := d.bytes(t.size)
		n.kind, n.text = Bytes, view(p)
		return err
	}
	return nil // null
}

// take returns the next n bytes.
func (d *avroDecoder) take(n int64) ([]byte, error) {
	if n < 0 || n > int64(len(d.data)) {
		return nil, errCutOff
	}
	p := d.data[:n:n]
	d.data = d.data[n:]
	return p, nil
}

// bytes returns the next size bytes, or, if size is negative, those behind the next number.
func (d *avroDecoder) bytes(size int) ([]byte, error) {
	if size >= 0 {
		return d.take(int64(size))
	}
	n, err := d.long(false)
	if err != nil {
		return nil, err
	}
	return d.take(n)
}

func (d *avroDecoder) text() (string, error) {
	p, err := d.bytes(-1)
	if err == nil && !utf8.Valid(p) {
		err = errUTF8
	}
	return view(p), err
}

// long returns the next number, which has to fit 32 bits if it is short.
func (d *avroDecoder) long(short bool) (int64, error) {
	v, n := binary.Varint(d.data)
	switch {
	case n == 0:
		return 0, errCutOff
	case n < 0 || short && v != int64(int32(v)):
		return 0, errRange
	}
	d.data = d.data[n:]
	return v, nil
}

// index returns the next number, which has to be below n.
func (d *avroDecoder) index(n int, what string) (int64, error) {
	i, err := d.long(false)
	if err == nil && (i < 0 || i >= int64(n)) {
		err = fmt.Errorf("there is no %s %d", what, i)
	}
	return i, err
}

func (d *avroDecoder) record(t *avroType, i int32) error {
	d.tree.nodes[i].kind = Map
	for f := range t.fields {
		field := &t.fields[f]
		c, err := d.tree.add(i, field.name)
		if err == nil {
			err = d.value(field.typ, c)
		}
		if err != nil {
			return inField(field.name, err)
		}
	}
	return nil
}

// blocks reads an array or a map: blocks of items, each behind their number, and an empty one.
func (d *avroDecoder) blocks(t *avroType, i int32) error {
	d.tree.nodes[i].kind = List
	if t.kind == avroMap {
		d.tree.nodes[i].kind = Map
	}
	for {
		n, err := d.long(false)
		if err == nil && n < 0 { // the block's size in bytes is behind the number
			n = -n
			_, err = d.long(false)
		}
		switch {
		case err != nil:
			return err
		case n < 0 || n > maxNodes:
			return errNodes
		case n == 0 && t.kind == avroMap:
			return d.tree.onlyOnce(i)
		case n == 0:
			return nil
		}
		for range n {
			if err := d.item(t, i); err != nil {
				return err
			}
		}
	}
}

func (d *avroDecoder) item(t *avroType, i int32) (err error) {
	name := ""
	if t.kind == avroMap {
		if name, err = d.text(); err != nil {
			return err
		}
	}
	number := int(d.tree.nodes[i].count)
	c, err := d.tree.add(i, name)
	if err == nil {
		err = d.value(t.item, c)
	}
	switch {
	case err == nil:
		return nil
	case t.kind == avroMap:
		return inField(name, err)
	}
	return inElement(number, err)
}

const (
	wallTime  = "2006-01-02T15:04:05.999999999"
	timeOfDay = "15:04:05.999999999"
)

// logical makes the null node i the text of a date, a time or a decimal.
func (d *avroDecoder) logical(t *avroType, i int32) error {
	if t.logical == avroDecimal {
		p, err := d.bytes(t.size)
		if err != nil {
			return err
		}
		return d.tree.setText(i, func(dst []byte) ([]byte, error) { return appendDecimalText(dst, p, t) })
	}
	n, err := d.long(t.kind == avroInt)
	if err != nil {
		return err
	}
	at, layout := instant{}, time.RFC3339Nano
	switch t.logical {
	case avroDate:
		at, layout = instant{seconds: n * 86400}, time.DateOnly
	case avroClock:
		if at, layout = instantOf(n, t.perSecond), timeOfDay; at.seconds < 0 || at.seconds >= 86400 {
			return errors.New("the time of day is not within a day")
		}
	case avroWallTime:
		at, layout = instantOf(n, t.perSecond), wallTime
	default:
		at = instantOf(n, t.perSecond)
	}
	return d.tree.setText(i, func(dst []byte) ([]byte, error) { return appendTime(dst, at, layout) })
}
