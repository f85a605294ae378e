package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"unicode/utf8"
)

// cborFormat is CBOR, RFC 8949. It writes the preferred serialization, §4.1, with members in the order of the tree.
type cborFormat struct{}

func (cborFormat) ContentType() string { return "application/cbor" }

// Major types, RFC 8949 §3.1, in the upper 3 bits of a head.
const (
	cborUnsigned = iota << 5
	cborNegative
	cborBytes
	cborText
	cborArray
	cborMap
	cborTag
	cborSimple
)

// Additional information in the lower 5 bits.
const (
	cborOneByte    = 24
	cborIndefinite = 31
)

// Whole heads.
const (
	cborFalse     = 0xf4
	cborTrue      = 0xf5
	cborNull      = 0xf6
	cborUndefined = 0xf7
	cborHalf      = 0xf9
	cborSingle    = 0xfa
	cborDouble    = 0xfb
	cborBreak     = 0xff
)

func (cborFormat) Decode(t *Tree, data []byte) error {
	root := t.begin()
	d := cborDecoder{tree: t, data: data}
	err := d.value(root)
	if err == nil && d.at < len(data) {
		err = errBehind
	}
	if err != nil {
		t.Reset()
		return err
	}
	return nil
}

// cborDecoder reads one payload.
type cborDecoder struct {
	tree *Tree
	data []byte
	at   int
}

// head is the beginning of a data item: its major type, the additional information, and the argument.
type head struct {
	major, info byte
	argument    uint64
}

func (h head) indefinite() bool { return h.info == cborIndefinite }

// head reads the next head.
func (d *cborDecoder) head() (h head, err error) {
	if d.at >= len(d.data) {
		return h, errCutOff
	}
	b := d.data[d.at]
	h.major, h.info = b&0xe0, b&0x1f
	rest := d.data[d.at+1:]
	size := 0
	switch {
	case h.info < cborOneByte:
		h.argument = uint64(h.info)
	case h.info <= cborOneByte+3:
		size = 1 << (h.info - cborOneByte)
		if len(rest) < size {
			return h, errCutOff
		}
		for _, b := range rest[:size] {
			h.argument = h.argument<<8 | uint64(b)
		}
	case h.info != cborIndefinite || h.major == cborUnsigned || h.major == cborNegative || h.major == cborTag:
		return h, d.malformed("a head of RFC 8949")
	}
	d.at += 1 + size
	return h, nil
}

func (d *cborDecoder) malformed(want string) error {
	return fmt.Errorf("CBOR at byte %d: want %s", d.at, want)
}

// value makes the null node i the next data item.
func (d *cborDecoder) value(i int32) error {
	h, err := d.head()
	for tags := 0; err == nil && h.major == cborTag; tags++ {
		switch { // what another tag says about its content is not kept
		case tags == maxDepth:
			return errDepth
		case h.argument == 2 || h.argument == 3: // RFC 8949 §3.4.3
			return d.bignum(h.argument == 3, &d.tree.nodes[i])
		}
		h, err = d.head()
	}
	if err != nil {
		return err
	}
	n := &d.tree.nodes[i]
	switch h.major {
	case cborUnsigned:
		n.setUint(h.argument)
	case cborNegative:
		n.setNegative(h.argument)
	case cborBytes, cborText:
		p, err := d.string(h)
		n.kind, n.text = Bytes, view(p)
		if h.major == cborText {
			n.kind = Text
		}
		return err
	case cborArray:
		n.kind = List
		return d.array(h, i)
	case cborMap:
		n.kind = Map
		return d.members(h, i)
	case cborSimple:
		return d.simple(h, n)
	}
	return nil
}

// setNegative makes n the number -1-argument: an Int, or beyond int64 the nearest Float.
func (n *node) setNegative(argument uint64) {
	if argument <= math.MaxInt64 {
		n.setInt(-1 - int64(argument))
		return
	}
	n.setFloat(-1 - float64(argument))
}

// maxBignum bounds the bytes of a bignum. A float64 holds less.
const maxBignum = 128

// bignum makes n the integer whose bytes come next, or the nearest Float.
func (d *cborDecoder) bignum(negative bool, n *node) error {
	h, err := d.head()
	if err != nil {
		return err
	}
	if h.major != cborBytes {
		return d.malformed("bytes in a bignum")
	}
	p, err := d.string(h)
	if err != nil {
		return err
	}
	if len(p) > maxBignum {
		return errRange
	}
	v := new(big.Int).SetBytes(p)
	if negative {
		v.Not(v)
	}
	if !n.setInteger(v.String()) {
		f, _ := new(big.Float).SetInt(v).Float64()
		if math.IsInf(f, 0) {
			return errRange
		}
		n.setFloat(f)
	}
	return nil
}

// simple makes the null n a simple value or a float.
func (d *cborDecoder) simple(h head, n *node) error {
	switch h.major | h.info {
	case cborFalse:
		n.setBool(false)
	case cborTrue:
		n.setBool(true)
	case cborNull, cborUndefined:
	case cborHalf:
		n.setFloat(half(uint16(h.argument)))
	case cborSingle:
		n.setFloat(float64(math.Float32frombits(uint32(h.argument)))) // not single: Encode shortens what was a double
	case cborDouble:
		n.setFloat(math.Float64frombits(h.argument))
	default:
		return d.malformed("a value; there is another simple value before")
	}
	return nil
}

// half returns the number of a half-precision float, RFC 8949 appendix D.
func half(h uint16) float64 {
	exponent, mantissa := int(h>>10&0x1f), float64(h&0x3ff)
	f := 0.0
	switch {
	case exponent == 0:
		f = math.Ldexp(mantissa, -24)
	case exponent != 31:
		f = math.Ldexp(mantissa+1024, exponent-25)
	case mantissa == 0:
		f = math.Inf(1)
	default:
		return math.NaN()
	}
	if h&0x8000 != 0 {
		return -f
	}
	return f
}

// string returns the bytes of a byte or text string: a view of the payload, or of the tree's text if it came in chunks.
func (d *cborDecoder) string(h head) ([]byte, error) {
	if !h.indefinite() {
		return d.take(h)
	}
	from := len(d.tree.text)
	for {
		if d.at < len(d.data) && d.data[d.at] == cborBreak {
			d.at++
			return d.tree.text[from:len(d.tree.text):len(d.tree.text)], nil
		}
		chunk, err := d.head()
		if err != nil {
			return nil, err
		}
		if chunk.major != h.major || chunk.indefinite() { // RFC 8949 §3.2.3
			return nil, d.malformed("a chunk of the same string before")
		}
		p, err := d.take(chunk)
		if err != nil {
			return nil, err
		}
		d.tree.text = append(d.tree.text, p...)
	}
}

// take returns the bytes behind the head of a string.
func (d *cborDecoder) take(h head) ([]byte, error) {
	if h.argument > uint64(len(d.data)-d.at) {
		return nil, errCutOff
	}
	n := int(h.argument)
	p := d.data[d.at : d.at+n : d.at+n]
	if h.major == cborText && !utf8.Valid(p) {
		return nil, errUTF8
	}
	d.at += n
	return p, nil
}

// more reports whether an array or map with that head has another item behind the first n, and takes the break.
func (d *cborDecoder) more(h head, n uint64) bool {
	if !h.indefinite() {
		return n < h.argument
	}
	if d.at < len(d.data) && d.data[d.at] == cborBreak {
		d.at++
		return false
	}
	return true
}

func (d *cborDecoder) array(h head, i int32) error {
	for n := uint64(0); d.more(h, n); n++ {
		c, err := d.tree.add(i, "")
		if err == nil {
			err = d.value(c)
		}
		if err != nil {
			return inElement(int(n), err)
		}
	}
	return nil
}

func (d *cborDecoder) members(h head, i int32) error {
	for n := uint64(0); d.more(h, n); n++ {
		name, err := d.name()
		if err != nil {
			return err
		}
		c, err := d.tree.add(i, name)
		if err == nil {
			err = d.value(c)
		}
		if err != nil {
			return inField(name, err)
		}
	}
	return d.tree.onlyOnce(i)
}

var errName = errors.New("want a text or an integer as a name")

// name reads the name of a member: a text, or an integer, which becomes its digits.
func (d *cborDecoder) name() (string, error) {
	h, err := d.head()
	if err != nil {
		return "", err
	}
	from := len(d.tree.text)
	switch h.major {
	case cborText:
		p, err := d.string(h)
		return view(p), err
	case cborUnsigned:
		d.tree.text = strconv.AppendUint(d.tree.text, h.argument, 10)
	case cborNegative:
		if h.argument > math.MaxInt64 {
			return "", errRange
		}
		d.tree.text = strconv.AppendInt(d.tree.text, -1-int64(h.argument), 10)
	default:
		return "", errName
	}
	return view(d.tree.text[from:]), nil
}

func (cborFormat) Encode(dst []byte, v Value) ([]byte, error) {
	out, err := appendCBOR(dst, v, len(dst))
	if err != nil {
		return dst, err
	}
	return out, nil
}

// appendCBOR appends v. The result began at start.
func appendCBOR(dst []byte, v Value, start int) (_ []byte, err error) {
	if len(dst)-start > maxOutput {
		return dst, errOutput
	}
	n := v.node()
	switch n.kind {
	case Null:
		return append(dst, cborNull), nil
	case Bool:
		return append(dst, cborFalse+byte(n.number)), nil
	case Int:
		if i := int64(n.number); i < 0 {
			return appendHead(dst, cborNegative, uint64(-1-i)), nil
		}
		return appendHead(dst, cborUnsigned, n.number), nil
	case Uint:
		return appendHead(dst, cborUnsigned, n.number), nil
	case Float:
		return appendCBORFloat(dst, math.Float64frombits(n.number)), nil
	case Text:
		return append(appendHead(dst, cborText, uint64(len(n.text))), n.text...), nil
	case Bytes:
		return append(appendHead(dst, cborBytes, uint64(len(n.text))), n.text...), nil
	case List:
		dst = appendHead(dst, cborArray, uint64(n.count))
		i := 0
		for e := range v.Elements() {
			if dst, err = appendCBOR(dst, e, start); err != nil {
				return dst, inElement(i, err)
			}
			i++
		}
	case Map:
		dst = appendHead(dst, cborMap, uint64(n.count))
		for name, e := range v.Fields() {
			dst = append(appendHead(dst, cborText, uint64(len(name))), name...)
			if dst, err = appendCBOR(dst, e, start); err != nil {
				return dst, inField(name, err)
			}
		}
	}
	return dst, nil
}

// appendHead appends a head with the shortest argument.
func appendHead(dst []byte, major byte, argument uint64) []byte {
	switch {
	case argument < cborOneByte:
		return append(dst, major|byte(argument))
	case argument <= math.MaxUint8:
		return append(dst, major|cborOneByte, byte(argument))
	case argument <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, major|cborOneByte+1), uint16(argument))
	case argument <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, major|cborOneByte+2), uint32(argument))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|cborOneByte+3), argument)
}

// appendCBORFloat appends the shortest float that is the same number.
func appendCBORFloat(dst []byte, f float64) []byte {
	single := float32(f)
	switch {
	case f != f:
		return append(dst, cborHalf, 0x7e, 0x00)
	case float64(single) != f:
		return binary.BigEndian.AppendUint64(append(dst, cborDouble), math.Float64bits(f))
	}
	if h, ok := toHalf(single); ok {
		return binary.BigEndian.AppendUint16(append(dst, cborHalf), h)
	}
	return binary.BigEndian.AppendUint32(append(dst, cborSingle), math.Float32bits(single))
}

// toHalf returns f in half precision, and reports whether that is the same number. f is not NaN.
func toHalf(f float32) (h uint16, ok bool) {
	bits := math.Float32bits(f)
	exponent, mantissa := int(bits>>23&0xff)-127, bits&0x7fffff
	h = uint16(bits >> 16 & 0x8000)
	switch {
	case bits&0x7fffffff == 0:
	case exponent == 128:
		h |= 0x7c00
	case exponent >= -14 && exponent <= 15:
		h |= uint16(exponent+15)<<10 | uint16(mantissa>>13)
	case exponent >= -24 && exponent < -14: // subnormal
		h |= uint16((mantissa | 0x800000) >> uint(-1-exponent))
	default:
		return 0, false
	}
	return h, half(h) == float64(f)
}
