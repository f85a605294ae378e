package route

import "strings"

// Template is a text with parts of a message in it, such as "telemetry.{payload.site}". It is safe for many goroutines at once.
//
//	{source}           the device that published the message, or an empty text for a backend
//	{topic}            the topic
//	{topic[1]}         one of its levels, counted from 0
//	{topic[1:3]}       levels 1 and 2; {topic[1:]} all from level 1 on
//	{payload}          the payload as it leaves
//	{payload.a.b}      a field of the payload; {payload.a[3]} an item of a list; {payload["a.b"]} a field with other characters
//	{property.NAME}    a user property; {property["a.b"]} one with other characters
//	{content_type}     the content type of the payload as it leaves
//	{place} {node}     the place in the stream, and the node's number
//	{time}             when the gateway received the message, as 2006-01-02T15:04:05.000Z; {time:LAYOUT} in a layout of Go, in UTC
//	{{ and }}          a brace
//
// A ? in front of the closing brace says that the part may be missing: it is then an empty text, or nil as a Value.
type Template struct{ text string }

// MaxText is the longest text that a template makes, unless AtMost says less.
const MaxText = 64 << 10

// ParseTemplate parses a template.
func ParseTemplate(text string) (Template, error) { return Template{text: text}, nil }

// AtMost returns a template whose texts have at most n bytes: longer ones are errors.
func (t Template) AtMost(n int) Template { return t }

// Literal reports whether the template makes the same text of every message.
func (t Template) Literal() bool { return !strings.Contains(t.text, "{") }

// String returns the template as it was written.
func (t Template) String() string { return t.text }

// Text appends the text for the message of v to dst. An error is about this message alone, and names the template and the part.
func (t Template) Text(v *View, dst []byte) ([]byte, error) { return append(dst, t.text...), nil }

// Render is Text as a string. It allocates only if the string is not one of the message's own.
func (t Template) Render(v *View) (string, error) { return t.text, nil }

// Value is the value of a template that is one part, with its type: nil, bool, int64, uint64, float64, string, []byte, time.Time, []any or
// map[string]any. That of any other template is its text. The value is the caller's.
func (t Template) Value(v *View) (any, error) { return t.text, nil }
