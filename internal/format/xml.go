package format

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// xmlFormat is XML 1.0 in UTF-8, without a document type. docs/formats.md says how elements, attributes and text become a tree.
type xmlFormat struct {
	root    string
	numbers bool
}

// Names in a tree that are no elements.
const (
	xmlAttribute = "@"     // in front of the name of an attribute
	xmlText      = "#text" // the text of an element that has attributes or elements besides
	xmlItem      = "item"  // an element of a list that is not the value of a member
)

func (xmlFormat) ContentType() string { return "application/xml" }

func (f xmlFormat) Decode(t *Tree, data []byte) error {
	root := t.begin()
	d := xmlDecoder{tree: t, in: xml.NewDecoder(bytes.NewReader(data)), numbers: f.numbers}
	err := d.document(root)
	if err != nil {
		t.Reset()
	}
	return err
}

// xmlDecoder reads one payload.
type xmlDecoder struct {
	tree    *Tree
	in      *xml.Decoder
	numbers bool
	depth   int // elements around the next token
}

// errDocumentType is for what could make a small payload large, or name other files.
var errDocumentType = errors.New("XML: want no document type")

func (d *xmlDecoder) document(root int32) error {
	start, err := d.start()
	if errors.Is(err, io.EOF) {
		return errors.New("XML: want a root element")
	}
	if err == nil {
		err = d.element(root, start)
	}
	if err != nil {
		return err
	}
	if _, err := d.start(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("XML: want one root element")
		}
		return err
	}
	return nil
}

// start returns the next element. io.EOF says that there is none.
func (d *xmlDecoder) start() (xml.StartElement, error) {
	for {
		switch x, err := d.token(); x := x.(type) {
		case xml.StartElement:
			return x, nil
		case xml.CharData:
			if len(bytes.TrimSpace(x)) > 0 {
				return xml.StartElement{}, errors.New("XML: want no text outside of the root element")
			}
		default:
			if err != nil {
				return xml.StartElement{}, err
			}
		}
	}
}

// token returns the next token, which is valid until the next.
func (d *xmlDecoder) token() (xml.Token, error) {
	x, err := d.in.Token()
	if _, ok := x.(xml.Directive); ok {
		return nil, errDocumentType
	}
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		return nil, fmt.Errorf("XML at line %d: %s", syntax.Line, showText(syntax.Msg))
	}
	return x, err
}

// element makes the null node i what is in an element: a text, or a map if it has attributes or elements.
func (d *xmlDecoder) element(i int32, start xml.StartElement) error {
	if d.depth++; d.depth > maxDepth/2 { // in the tree there may be a list around each
		return errDepth
	}
	if err := d.attributes(i, start.Attr); err != nil {
		return err
	}
	elements := false
	var text []byte
	for {
		switch x, err := d.token(); x := x.(type) {
		case xml.CharData:
			text = append(text, x...)
		case xml.StartElement:
			elements = true
			if err := d.child(i, x); err != nil {
				return inField(x.Name.Local, err)
			}
		case xml.EndElement:
			d.depth--
			if elements { // between elements there is white space
				text = bytes.TrimSpace(text)
			}
			return d.end(i, string(text))
		default:
			if errors.Is(err, io.EOF) {
				return errCutOff
			}
			if err != nil {
				return err
			}
		}
	}
}

func (d *xmlDecoder) attributes(i int32, all []xml.Attr) error {
	for _, a := range all {
		if a.Name.Space == "xmlns" || a.Name.Local == "xmlns" {
			continue
		}
		if err := d.text(i, xmlAttribute+a.Name.Local, a.Value); err != nil {
			return err
		}
	}
	return d.tree.onlyOnce(i)
}

func (d *xmlDecoder) child(i int32, start xml.StartElement) error {
	d.tree.nodes[i].kind = Map
	c, err := d.tree.add(i, start.Name.Local)
	if err != nil {
		return err
	}
	return d.element(c, start)
}

// end completes an element with that text in it.
func (d *xmlDecoder) end(i int32, text string) error {
	if d.tree.nodes[i].kind != Map {
		d.scalar(&d.tree.nodes[i], text)
		return nil
	}
	if text != "" {
		if err := d.text(i, xmlText, text); err != nil {
			return err
		}
	}
	return d.tree.group(i)
}

// text adds a member that is a text.
func (d *xmlDecoder) text(i int32, name, text string) error {
	d.tree.nodes[i].kind = Map
	c, err := d.tree.add(i, name)
	if err != nil {
		return inField(name, err)
	}
	d.scalar(&d.tree.nodes[c], text)
	return nil
}

// scalar makes the null n a text, or what the text is as JSON if numbers are wanted.
func (d *xmlDecoder) scalar(n *node, text string) {
	plain := strings.TrimSpace(text)
	switch {
	case d.numbers && (plain == "true" || plain == "false"):
		n.setBool(plain == "true")
	case d.numbers && isNumber(plain) && n.setNumber(plain) == nil:
	default:
		n.kind, n.text = Text, text
	}
}

// group makes members of one name one list, at the place of the first.
func (t *Tree) group(object int32) error {
	from := len(t.slots)
	err := t.repeated(object, func(first, again int32) error {
		t.slots = append(t.slots, first, again)
		return nil
	})
	pairs := t.slots[from:]
	t.slots = t.slots[:from]
	before := int32(0)
	for i := t.nodes[object].first; i != 0 && err == nil && len(pairs) > 0; {
		next := t.nodes[i].next
		if i != pairs[1] {
			before = i
		} else {
			t.nodes[before].next = next
			if next == 0 {
				t.nodes[object].last = before
			}
			t.nodes[object].count--
			err = t.join(pairs[0], i)
			pairs = pairs[2:]
		}
		i = next
	}
	return err
}

// join appends a member that is taken out of its map to the list that first is. If first is no list yet, it becomes one, whose element is what
// first was.
func (t *Tree) join(first, again int32) error {
	if t.nodes[first].kind != List { // no element of XML is one
		if len(t.nodes) >= maxNodes {
			return errNodes
		}
		element, i := t.nodes[first], int32(len(t.nodes))
		element.name, element.next = "", 0
		t.nodes = append(t.nodes, element)
		f := &t.nodes[first]
		*f = node{kind: List, name: f.name, depth: f.depth, next: f.next, first: i, last: i, count: 1}
	}
	f := &t.nodes[first]
	t.nodes[f.last].next, t.nodes[again].next, t.nodes[again].name = again, 0, ""
	f.last = again
	f.count++
	return nil
}

func (f xmlFormat) Encode(dst []byte, v Value) ([]byte, error) {
	e := xmlEncoder{len(dst)}
	out, err := e.element(dst, f.root, v)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// xmlEncoder writes one payload.
type xmlEncoder struct {
	start int
}

var (
	errXMLName = errors.New("want a name that XML allows: letters, digits, _ - . and no digit at the beginning")
	errXMLText = errors.New("the text has a character that XML does not allow")
)

// element appends an element. A map's members are its attributes, its text and its elements; the elements of a list are elements of the name
// item.
func (e *xmlEncoder) element(dst []byte, name string, v Value) (_ []byte, err error) {
	if !isXMLName(name) {
		return dst, errXMLName
	}
	dst = append(append(dst, '<'), name...)
	if dst, err = e.attributes(dst, v); err != nil {
		return dst, err
	}
	dst = append(dst, '>')
	switch v.Kind() {
	case Map:
		dst, err = e.members(dst, v)
	case List:
		dst, err = e.list(dst, xmlItem, v)
	default:
		dst, err = e.text(dst, v)
	}
	return append(append(append(dst, "</"...), name...), '>'), err
}

func (e *xmlEncoder) attributes(dst []byte, v Value) (_ []byte, err error) {
	for name, m := range v.Fields() {
		attribute, ok := strings.CutPrefix(name, xmlAttribute)
		if !ok {
			continue
		}
		dst = append(append(append(dst, ' '), attribute...), '=', '"')
		if !isXMLName(attribute) {
			err = errXMLName
		} else {
			dst, err = e.text(dst, m)
		}
		if err != nil {
			return dst, inField(name, err)
		}
		dst = append(dst, '"')
	}
	return dst, nil
}

func (e *xmlEncoder) members(dst []byte, v Value) (_ []byte, err error) {
	for name, m := range v.Fields() {
		switch {
		case strings.HasPrefix(name, xmlAttribute):
			continue
		case name == xmlText:
			dst, err = e.text(dst, m)
		case m.Kind() == List:
			dst, err = e.list(dst, name, m)
		default:
			dst, err = e.element(dst, name, m)
		}
		if err != nil {
			return dst, inField(name, err)
		}
	}
	return dst, nil
}

// list appends an element for each of a list.
func (e *xmlEncoder) list(dst []byte, name string, v Value) (_ []byte, err error) {
	i := 0
	for m := range v.Elements() {
		if dst, err = e.element(dst, name, m); err != nil {
			return dst, inElement(i, err)
		}
		i++
	}
	return dst, nil
}

// text appends a value that is neither a map nor a list.
func (e *xmlEncoder) text(dst []byte, v Value) (_ []byte, err error) {
	switch v.Kind() {
	case Null:
	case Text:
		dst, err = appendXMLText(dst, v.Text())
	case Bytes:
		dst = base64.StdEncoding.AppendEncode(dst, v.Bytes())
	case List, Map:
		return dst, wants("a text, as attributes and the text of an element are", v)
	default:
		dst = appendScalar(dst, v)
	}
	if err == nil && len(dst)-e.start > maxOutput {
		err = errOutput
	}
	return dst, err
}

// appendXMLText appends text with what has a meaning in XML, and what a reader would change, as references.
func appendXMLText(dst []byte, text string) ([]byte, error) {
	for _, r := range text {
		switch r {
		case '&':
			dst = append(dst, "&amp;"...)
		case '<':
			dst = append(dst, "&lt;"...)
		case '>':
			dst = append(dst, "&gt;"...)
		case '"':
			dst = append(dst, "&quot;"...)
		case '\t', '\n', '\r':
			dst = append(strconv.AppendInt(append(dst, "&#"...), int64(r), 10), ';')
		default:
			if r < ' ' || r == 0xfffe || r == 0xffff { // XML 1.0 §2.2
				return dst, errXMLText
			}
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst, nil
}

// isXMLName reports whether name can be the name of an element or attribute. XML allows more characters.
func isXMLName(name string) bool {
	for i, r := range name {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || r != '-' && r != '.' && !unicode.IsDigit(r)) {
			return false
		}
	}
	return name != ""
}
