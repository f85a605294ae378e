package wire

import (
	"fmt"
	"unicode/utf8"

	"github.com/longline/longline/internal/jsontext"
)

// malformed returns the error for a wrong byte of JSON.
func malformed(at int, want string) error {
	return CloseMalformed.Because(fmt.Sprintf("JSON at byte %d: want %s", at, want))
}

// JSONElements calls yield with the elements of the JSON array that text holds, each as a view of text without the white space
// around it. If text is something else, JSONElements returns an error that says where, and may have called yield before with the
// elements in front of that place.
func JSONElements(text []byte, yield func(element []byte)) error {
	if !utf8.Valid(text) {
		return CloseInvalidUTF8.Because(fmt.Sprintf("not UTF-8 at byte %d", jsontext.InvalidAt(text)))
	}
	i := jsontext.SkipSpace(text, 0)
	if jsontext.ByteAt(text, i) != '[' {
		return malformed(i, "'['")
	}
	i = jsontext.SkipSpace(text, i+1)
	more := jsontext.ByteAt(text, i) != ']'
	if !more {
		i++
	}
	for more {
		end, want := jsontext.SkipValue(text, i, 1)
		if want != "" {
			return malformed(end, want)
		}
		yield(text[i:end])
		if i, more, want = jsontext.SkipComma(text, end, ']'); want != "" {
			return malformed(i, want)
		}
	}
	if i = jsontext.SkipSpace(text, i); i < len(text) {
		return malformed(i, "the end")
	}
	return nil
}

// JSONObject returns the JSON object in text, without the white space around it, and reports whether there is one that may
// be an element of an array.
func JSONObject(text []byte) (object []byte, ok bool) {
	object, ok = jsonValue(text, 1)
	return object, ok && object[0] == '{'
}

// JSONString returns the text of a JSON string, an element that JSONElements has yielded. Without escapes it is a view of it.
func JSONString(element []byte) string {
	plain := element[1 : len(element)-1]
	if jsontext.SkipPlain(plain, 0) < len(plain) {
		plain = jsontext.Unescape(append([]byte(nil), plain...))
	}
	return viewString(plain)
}
