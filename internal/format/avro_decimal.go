package format

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// appendDecimal appends a decimal: a whole number of units of 10^-scale as the shortest two's complement, or in the size of a fixed.
// It is a number, or a text with its digits; nothing is rounded.
func appendDecimal(dst []byte, t *avroType, v Value) ([]byte, error) {
	text := v.Text()
	switch v.Kind() {
	case Int, Uint, Float:
		text = string(appendScalar(nil, v))
	}
	digits, ok := decimalDigits(text, t.scale)
	n, ok2 := new(big.Int).SetString(digits, 10)
	if !ok || !ok2 || len(strings.TrimLeft(digits, "-0")) > t.digits {
		return dst, wants(fmt.Sprintf("a decimal of at most %d digits, %d of them behind the point", t.digits, t.scale), v)
	}
	bytes := twosComplement(n)
	if t.kind == avroBytes {
		return append(appendLong(dst, int64(len(bytes))), bytes...), nil
	}
	if len(bytes) > t.size {
		return dst, fmt.Errorf("the decimal does not fit %d bytes", t.size)
	}
	fill := byte(0)
	if n.Sign() < 0 {
		fill = 0xff
	}
	for range t.size - len(bytes) {
		dst = append(dst, fill)
	}
	return append(dst, bytes...), nil
}

// twosComplement returns the fewest bytes that hold n, the highest first.
func twosComplement(n *big.Int) []byte {
	size := n.BitLen()/8 + 1
	if n.Sign() < 0 {
		size = new(big.Int).Not(n).BitLen()/8 + 1
		n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	}
	return n.FillBytes(make([]byte, size))
}

var errDecimal = errors.New("the decimal has more digits than the schema says")

// appendDecimalText appends the decimal that two's complement holds as text.
func appendDecimalText(dst, bytes []byte, t *avroType) ([]byte, error) {
	if len(bytes) > maxDecimal/2 || t.scale > maxDecimal {
		return dst, errDecimal
	}
	scale := t.scale
	n := new(big.Int).SetBytes(bytes)
	if len(bytes) > 0 && bytes[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(bytes))))
	}
	digits := new(big.Int).Abs(n).String()
	if len(digits) > min(t.digits, maxDecimal-2) {
		return dst, errDecimal
	}
	if short := scale + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	if n.Sign() < 0 {
		dst = append(dst, '-')
	}
	dst = append(dst, digits[:len(digits)-scale]...)
	if scale > 0 {
		dst = append(append(dst, '.'), digits[len(digits)-scale:]...)
	}
	return dst, nil
}
