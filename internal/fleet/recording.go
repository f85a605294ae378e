package fleet

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// recording is what the first pass over the files has found. The second pass is the replay.
// The files are never held in memory.
type recording struct {
	*Replay
	names   []string          // device ids, by number
	numbers map[string]uint32 // of devices, by the id in the files
	rows    int
	first   time.Time // of the first row
	spool   *os.File  // the content of standard input, or nil
}

// scan reads all files, checks them, and finds their devices.
func (r *Replay) scan(ctx context.Context) (*recording, error) {
	rec := &recording{Replay: r, numbers: make(map[string]uint32)}
	pass, err := rec.open()
	if err != nil {
		return nil, err
	}
	defer pass.close()
	originals := make(map[string]string) // ids in the files, by device id
	for ; ; rec.rows++ {
		rows, err := pass.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = rec.meet(rows, originals)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
	}
	if rec.rows == 0 {
		return nil, fmt.Errorf("%s has no rows", strings.Join(r.Files, ", "))
	}
	return rec, nil
}

// meet notes a device that is new.
func (rec *recording) meet(rows *rows, originals map[string]string) error {
	if rec.rows == 0 {
		rec.first = rows.at
	}
	if _, known := rec.numbers[rows.id]; known {
		return nil
	}
	name := deviceID(rows.id)
	if name == "" || len(name) > maxIDLength {
		return rows.fail(max(0, rows.idAt), "%q is no device id: want 1 to %d characters", rows.id, maxIDLength)
	}
	if other, taken := originals[name]; taken {
		return rows.fail(max(0, rows.idAt), "%q and %q would both be device %q", rows.id, other, name)
	}
	id := strings.Clone(rows.id)
	originals[name] = id
	rec.numbers[id] = uint32(len(rec.names))
	rec.names = append(rec.names, name)
	return nil
}

const maxIDLength = 128

// deviceID makes a device id of s: other characters than A-Z a-z 0-9 . _ : - become _.
func deviceID(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', r >= '0' && r <= '9', strings.ContainsRune("._:-", r):
			return r
		}
		return '_'
	}, s)
}

// rows reads a file of a recording row by row. Its fields describe the row that next read last.
type rows struct {
	name string // of the file
	id   string // as in the file; valid until the next row
	at   time.Time

	replay       *Replay
	file         io.Closer
	bound        *rowBound
	csv          *csv.Reader
	lines        *jsonLines // instead of csv; nil if the file is CSV
	columns      []string   // of CSV: names in quotes with a colon, as in JSON; of JSON lines: names to look up
	idAt, timeAt int        // indexes of columns; idAt is -1 if all rows belong to one device
	dateAt       int        // -1 if there is none
	frameAt      int        // the same
	clock        timeFormat
	values       []string
	size         int // of the last JSON payload
}

// openFile begins a pass over one file.
func (rec *recording) openFile(name string) (*rows, error) {
	file, err := rec.file(name)
	if err != nil {
		return nil, err
	}
	in, err := plain(file)
	if err == nil {
		var r *rows
		if r, err = newRows(rec.Replay, name, in); err == nil {
			r.file = file
			return r, nil
		}
	}
	_ = file.Close()
	return nil, err
}

// file opens a file of the recording. It first copies standard input into an unnamed file, because each file is read twice.
func (rec *recording) file(name string) (io.ReadCloser, error) {
	if name != "-" {
		return os.Open(name)
	}
	if rec.spool == nil {
		f, err := os.CreateTemp("", "longline-replay")
		if err != nil {
			return nil, err
		}
		_ = os.Remove(f.Name())
		if _, err := io.Copy(f, rec.In); err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		rec.spool = f
	}
	return io.NopCloser(io.NewSectionReader(rec.spool, 0, math.MaxInt64)), nil
}

// plain returns a reader of a file's content, which it decompresses if it is gzip, RFC 1952.
func plain(file io.Reader) (io.Reader, error) {
	in := bufio.NewReader(file)
	if magic, _ := in.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		return z, nil
	}
	return in, nil
}

func (r *rows) close() { _ = r.file.Close() }

// headRoom is how many bytes are searched for the delimiter.
const headRoom = 64 << 10

// newRows returns the rows of a file: JSON lines if it begins with a brace, otherwise CSV.
func newRows(replay *Replay, name string, in io.Reader) (*rows, error) {
	buffered := bufio.NewReaderSize(in, headRoom)
	if bom, _ := buffered.Peek(3); string(bom) == "\uFEFF" {
		_, _ = buffered.Discard(len(bom))
	}
	bound := &rowBound{in: buffered, left: maxRow}
	r := &rows{name: name, replay: replay, bound: bound}
	r.clock, _ = timeFormatNamed(replay.TimeFormat)
	if first, _ := buffered.Peek(1); string(first) == "{" {
		r.readObjects()
		return r, nil
	}
	return r, r.readHead(buffered)
}

// readHead reads the line of column names of CSV.
func (r *rows) readHead(buffered *bufio.Reader) error {
	replay := r.replay
	r.csv = csv.NewReader(r.bound)
	r.csv.ReuseRecord = true
	r.csv.Comma, _ = parseDelimiter(replay.Delimiter)
	if r.csv.Comma == 0 {
		head, _ := buffered.Peek(headRoom)
		r.csv.Comma = findDelimiter(firstLine(head, replay.Comment))
	}
	r.csv.Comment, _ = utf8.DecodeRuneInString(replay.Comment)
	if replay.Comment == "" {
		r.csv.Comment = 0
	}
	r.csv.FieldsPerRecord = -1 // see fit
	names, err := r.csv.Read()
	if err == io.EOF {
		return fmt.Errorf("%s is empty", r.name)
	}
	if err != nil {
		return r.explain(err)
	}
	return r.readNames(slices.Clone(names))
}

// readNames checks the column names and finds the columns of the id, the time, the date and the frame.
func (r *rows) readNames(names []string) error {
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	if n := len(names); n > 1 && names[n-1] == "" { // every line ends with a delimiter
		names = names[:n-1]
	}
	r.values = names
	for i, name := range names {
		switch {
		case !utf8.ValidString(name):
			return r.fail(i, "the name of column %d is not UTF-8: convert the file first", i+1)
		case name == "":
			return r.fail(i, "column %d has no name", i+1)
		case slices.Index(names, name) < i:
			return r.fail(i, "two columns are named %q", name)
		}
		r.columns = append(r.columns, string(append(appendString(nil, name), ':')))
	}
	replay := r.replay
	r.idAt, r.timeAt = slices.Index(names, replay.IDColumn), slices.Index(names, replay.TimeColumn)
	r.dateAt, r.frameAt = slices.Index(names, replay.DateColumn), slices.Index(names, replay.FrameColumn)
	for _, name := range []string{replay.IDColumn, replay.TimeColumn, replay.DateColumn, replay.FrameColumn} {
		if name != "" && !slices.Contains(names, name) {
			return r.fail(0, "there is no column %q; the columns are: %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

// maxRow bounds a row, in bytes, so that an unclosed quote does not read the rest of the file into one row.
const maxRow = 16 << 20

// rowBound is a reader that fails when a row is too long.
type rowBound struct {
	in   io.Reader
	left int
}

var errRowTooLong = fmt.Errorf("a row is longer than %d bytes; is a quote not closed?", maxRow)

// Read implements io.Reader.
func (b *rowBound) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errRowTooLong
	}
	n, err := b.in.Read(p)
	b.left -= n
	return n, err
}

// next reads a row; io.EOF is the end. Other errors name the file, line and column.
func (r *rows) next() error {
	r.bound.left = maxRow
	read := r.nextRecord
	if r.lines != nil {
		read = r.nextObject
	}
	if err := read(); err != nil {
		return err
	}
	if r.id = r.replay.oneID(r.name); r.idAt >= 0 {
		r.id = strings.TrimSpace(r.values[r.idAt])
	}
	if r.frameAt >= 0 && r.values[r.frameAt] == "" {
		return r.fail(r.frameAt, "the frame is empty")
	}
	return r.readTime()
}

// nextRecord reads a row of CSV.
func (r *rows) nextRecord() (err error) {
	if r.values, err = r.csv.Read(); err == io.EOF {
		return err
	}
	if err != nil {
		return r.explain(err)
	}
	if err := r.fit(); err != nil {
		return err
	}
	for i, v := range r.values {
		if !utf8.ValidString(v) {
			return r.fail(i, "%q is not UTF-8: convert the file first", v)
		}
	}
	return nil
}

// fit checks the number of values. It removes an empty last one, which a delimiter at the end of the line makes.
func (r *rows) fit() error {
	n := len(r.columns)
	if len(r.values) == n+1 && r.values[n] == "" {
		r.values = r.values[:n]
	}
	if len(r.values) != n {
		line, column := r.csv.FieldPos(0)
		return fmt.Errorf("%s:%d:%d: the row has %d values, want %d", r.name, line, column, len(r.values), n)
	}
	return nil
}

// readTime reads the time of the row.
func (r *rows) readTime() error {
	text := strings.TrimSpace(r.values[r.timeAt])
	if r.dateAt >= 0 {
		text = strings.TrimSpace(r.values[r.dateAt]) + " " + text
	}
	if r.clock.parse == nil {
		r.clock = detectTimeFormat(text)
	}
	var ok bool
	if r.at, ok = r.clock.parse(text); !ok {
		return r.fail(r.timeAt, "%q is no time: want %s", text, r.clock.want)
	}
	return nil
}

// fail returns an error with the place of the i-th value of the row.
func (r *rows) fail(i int, format string, args ...any) error {
	if r.lines != nil {
		return fmt.Errorf("%s:%d: %s", r.name, r.lines.number, fmt.Sprintf(format, args...))
	}
	line, column := r.csv.FieldPos(i)
	return fmt.Errorf("%s:%d:%d: %s", r.name, line, column, fmt.Sprintf(format, args...))
}

// explain returns an error of encoding/csv in the same form.
func (r *rows) explain(err error) error {
	var e *csv.ParseError
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	return fmt.Errorf("%s:%d:%d: %w", r.name, e.Line, e.Column, e.Err)
}

// parseDelimiter reads Replay.Delimiter; 0 means that findDelimiter finds it.
func parseDelimiter(s string) (rune, error) {
	if s == "tab" || s == `\t` {
		return '\t', nil
	}
	d, size := utf8.DecodeRuneInString(s)
	if size != len(s) || d == '"' || d == '\r' || d == '\n' || size > 0 && d == utf8.RuneError {
		return 0, fmt.Errorf("delimiter %q: want one character, or tab", s)
	}
	if size == 0 {
		return 0, nil
	}
	return d, nil
}

// firstLine returns head without the comments and empty lines before the line of column names.
func firstLine(head []byte, comment string) []byte {
	for {
		line, rest, more := bytes.Cut(head, []byte("\n"))
		isComment := comment != "" && bytes.HasPrefix(line, []byte(comment))
		if !more || !isComment && len(bytes.TrimSuffix(line, []byte("\r"))) > 0 {
			return head
		}
		head = rest
	}
}

// findDelimiter returns whichever of comma, semicolon and tab occurs most in the first line, outside
// of quotes.
func findDelimiter(head []byte) rune {
	var counts [256]int
	quoted := false
	for _, b := range head {
		if b == '"' {
			quoted = !quoted
		}
		if b == '\n' && !quoted {
			break
		}
		if !quoted {
			counts[b]++
		}
	}
	best := byte(',')
	for _, b := range []byte{';', '\t'} {
		if counts[b] > counts[best] {
			best = b
		}
	}
	return rune(best)
}

// Payloads calls each with the payload of every row of a file, in the order of the file, as a device of a replay would send it, until each
// returns an error. It needs no names of columns. Errors name the file, line and column.
func (r *Replay) Payloads(file string, each func(payload []byte) error) error {
	rec := &recording{Replay: r}
	rows, err := rec.openFile(file)
	if err != nil {
		return err
	}
	defer rows.close()
	read := rows.nextRecord
	if rows.lines != nil {
		read = rows.nextObject
	}
	for {
		rows.bound.left = maxRow
		switch err := read(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := each(rows.payload()); err != nil {
			return err
		}
	}
}
