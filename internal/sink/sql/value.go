package sql

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// document is a list or a map of a payload, as JSON.
type document string

var errNotFinite = errors.New("MySQL has no such number")

// parameterOf returns a template's value as one that a statement may have: nil, bool, int64, uint64, float64, string, []byte, time.Time, document.
func parameterOf(lang language, x any) (any, error) {
	switch x := x.(type) {
	case []any, map[string]any:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(x); err != nil {
			return nil, err
		}
		return document(strings.TrimSuffix(b.String(), "\n")), nil
	case float64:
		if lang == mySQL && (math.IsNaN(x) || math.IsInf(x, 0)) {
			return nil, fmt.Errorf("%v: %w", x, errNotFinite)
		}
	}
	return x, nil
}

// appendText appends a value other than nil as text that every database understands, as it does a literal.
func appendText(dst []byte, x any) []byte {
	switch x := x.(type) {
	case bool:
		return strconv.AppendBool(dst, x)
	case int64:
		return strconv.AppendInt(dst, x, 10)
	case uint64:
		return strconv.AppendUint(dst, x, 10)
	case float64:
		return strconv.AppendFloat(dst, x, 'g', -1, 64)
	case string:
		return append(dst, x...)
	case document:
		return append(dst, x...)
	case []byte:
		return append(dst, x...)
	case time.Time:
		return x.UTC().AppendFormat(dst, time.RFC3339Nano)
	}
	return fmt.Append(dst, x)
}

// appendKey appends a value so that two keys are the same bytes only if all their values are; it reports whether the value can be the
// same as another, which NULL never is.
func appendKey(dst []byte, x any) ([]byte, bool) {
	if x == nil {
		return dst, false
	}
	start := len(dst)
	dst = appendText(dst, x)
	return strconv.AppendInt(append(dst, 0), int64(len(dst)-start), 10), true
}
