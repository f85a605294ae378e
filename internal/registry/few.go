package registry

import (
	"bytes"
	"encoding/json"
)

// few is a JSON array of which the first elements are decoded, one more than there may be instances, so that an answer takes
// not much more memory than its bytes.
type few[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (f *few[T]) UnmarshalJSON(text []byte) error {
	*f = nil
	d := json.NewDecoder(bytes.NewReader(text))
	open, err := d.Token()
	if err != nil || open == nil { // null
		return err
	}
	if open != json.Delim('[') {
		return &json.UnmarshalTypeError{Value: string(text[:1])}
	}
	for d.More() && len(*f) <= maxInstances {
		var element T
		if err := d.Decode(&element); err != nil {
			return err
		}
		*f = append(*f, element)
	}
	return nil
}
