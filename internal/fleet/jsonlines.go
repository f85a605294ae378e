package fleet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// jsonLines reads JSON objects, one per line.
type jsonLines struct {
	in     *bufio.Reader
	number int    // number of the last line
	line   []byte // the last line, without spaces around it
}

// next reads the next line that is not blank and, if comment is not empty, does not begin with it.
func (l *jsonLines) next(comment string) error {
	for {
		line, err := l.in.ReadBytes('\n')
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			return err
		}
		l.number++
		l.line = bytes.TrimSpace(line)
		if len(l.line) > 0 && (comment == "" || !bytes.HasPrefix(line, []byte(comment))) {
			return nil
		}
	}
}

// nextObject reads a row of JSON lines. Its values are the members with the id, the
// time, the date and the frame.
func (r *rows) nextObject() error {
	err := r.lines.next(r.replay.Comment)
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	if !utf8.Valid(r.lines.line) {
		return r.fail(0, "the line is not UTF-8: convert the file first")
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(r.lines.line, &object); err != nil || object == nil {
		return r.fail(0, "the line is no JSON object")
	}
	for i, name := range r.columns {
		text := scalar
		if i == r.frameAt {
			text = frame
		}
		if r.values[i], err = text(object[name]); err != nil {
			return r.fail(0, "member %q: %v", name, err)
		}
	}
	return nil
}

// scalar returns the text of a JSON string or number.
func scalar(raw json.RawMessage) (string, error) {
	switch {
	case len(raw) == 0:
		return "", errors.New("there is none")
	case raw[0] == '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	case isNumber(string(raw)):
		return string(raw), nil
	}
	return "", fmt.Errorf("%s is neither a string nor a number", raw)
}

// frame returns the text of a JSON string, or an array or object unchanged.
func frame(raw json.RawMessage) (string, error) {
	if len(raw) > 0 && (raw[0] == '[' || raw[0] == '{') {
		return string(raw), nil
	}
	return scalar(raw)
}

// readObjects prepares to read JSON lines.
func (r *rows) readObjects() {
	r.lines = &jsonLines{in: bufio.NewReader(r.bound)}
	add := func(name string) int {
		if name == "" {
			return -1
		}
		r.columns = append(r.columns, name)
		return len(r.columns) - 1
	}
	r.idAt, r.timeAt, r.dateAt = add(r.replay.IDColumn), add(r.replay.TimeColumn), add(r.replay.DateColumn)
	r.frameAt = add(r.replay.FrameColumn)
	r.values = make([]string, len(r.columns))
}
