package config

import (
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/longline/longline/internal/setting"
)

// maxFile bounds the file, in bytes.
const maxFile = 256 << 10

// Load reads and checks a file. Options that it does not name are zero. Its errors join one
// *Error per finding.
func Load(path string) (Config, error) {
	return LoadWith(path, Config{}, func(Config) error { return nil })
}

// LoadWith is Load with options that hold where the file does not say, and with a further check, more, of the configuration with its
// defaults. An error of more that begins with a key is shown at the option below that key whose value the error names, such as
// the name of a file.
func LoadWith(path string, otherwise Config, more func(Config) error) (Config, error) {
	file, err := os.Open(path)
	if err != nil {
		return Config{}, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return Config{}, err
	}
	return parseWith(path, text, otherwise, more)
}

// Parse is Load for a text; errors name it name.
func Parse(name string, text []byte) (Config, error) {
	return parseWith(name, text, Config{}, func(Config) error { return nil })
}

func parseWith(name string, text []byte, c Config, more func(Config) error) (Config, error) {
	if len(text) > maxFile {
		return Config{}, fmt.Errorf("%s: the file is larger than %s", name, formatBytes(maxFile))
	}
	d := newDecoder(name, text)
	d.document(text, reflect.ValueOf(&c).Elem())
	if len(d.errs) == 0 {
		d.check(&c)
	}
	if len(d.errs) == 0 {
		d.locate(more(c.WithDefaults()))
	}
	if err := d.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// decoder fills a Config from a syntax tree and collects errors.
type decoder struct {
	name      string
	lines     []string
	places    map[string]*token.Token // of the values, by path
	secrets   map[string]string       // the keys by which secrets are given, by the path of the option
	hidden    map[int]bool            // lines, from 1, that errors do not show
	secretKey *regexp.Regexp
	inline    bool // the text is one value: errors have no place
	public    bool // others can read the text: it may hold no secret
	errs      []*Error
}

func newDecoder(name string, text []byte) *decoder {
	return &decoder{name: name, lines: splitLines(text), places: make(map[string]*token.Token), secrets: make(map[string]string), hidden: make(map[int]bool)}
}

func (d *decoder) document(text []byte, root reflect.Value) {
	d.secretKey = secretKeys(root.Type())
	file, err := parser.ParseBytes(text, 0)
	var syntax yaml.Error
	switch {
	case errors.As(err, &syntax):
		if slices.ContainsFunc(d.lines, d.secretKey.MatchString) {
			d.lines = nil // in a file that is not YAML, nobody knows where a secret ends
		}
		d.fail(syntax.GetToken(), "", syntax.GetMessage())
	case err != nil:
		d.fail(nil, "", err.Error())
	case len(file.Docs) > 1 && file.Docs[1].Body != nil:
		d.fail(file.Docs[1].Start, "", "the file holds more than one document")
	case len(file.Docs) > 0:
		d.section("", root, file.Docs[0].Body)
	}
}

// section decodes a mapping. An empty one changes nothing. A section that is an encoding.TextUnmarshaler may be one word instead.
func (d *decoder) section(path string, section reflect.Value, n ast.Node) {
	if n == nil || n.Type() == ast.NullType {
		return
	}
	if word, ok := scalar(n); ok && d.word(path, section, word, n.GetToken()) {
		return
	}
	mapping, ok := n.(ast.MapNode)
	if !ok {
		d.fail(n.GetToken(), path, "want keys and values: "+keys(section))
		return
	}
	for each := mapping.MapRange(); each.Next(); {
		at := each.Key().GetToken()
		key, ok := scalar(each.Key())
		if !ok {
			d.fail(at, path, "want a plain key")
			continue
		}
		if f, ok := d.find(path, section, key, at); ok {
			d.value(f, each.Value())
		}
	}
}

// word sets a section from one word, and reports whether the section can be that.
func (d *decoder) word(path string, section reflect.Value, word string, at *token.Token) bool {
	u, ok := section.Addr().Interface().(encoding.TextUnmarshaler)
	if ok {
		if err := u.UnmarshalText([]byte(word)); err != nil {
			d.fail(at, path, fmt.Sprintf("%v, not %q", err, word))
		}
	}
	return ok
}

// find returns the field of that key, or adds an error at a token. Where there are secrets, an unknown
// key may be a misspelt one of theirs: its line is not shown.
func (d *decoder) find(path string, section reflect.Value, key string, at *token.Token) (field, bool) {
	f, ok := find(path, section, key)
	if !ok {
		if at != nil && hasSecrets(section) {
			d.hide(at)
		}
		d.fail(at, path, fmt.Sprintf("unknown key %q: want any of %s", key, keys(section)))
	}
	return f, ok
}

func (d *decoder) value(f field, n ast.Node) {
	d.places[f.path] = n.GetToken()
	switch {
	case f.section():
		d.section(f.path, f.value, n)
	case f.named():
		d.named(f, n)
	case f.texts():
		d.texts(f, n)
	case f.sections():
		d.sections(f, n)
	case f.value.Kind() == reflect.Slice:
		d.list(f, n)
	default:
		d.option(f, n)
	}
}

// named decodes sections under names of their own. An empty mapping changes nothing.
func (d *decoder) named(f field, n ast.Node) {
	if n.Type() == ast.NullType {
		return
	}
	mapping, ok := n.(ast.MapNode)
	if !ok {
		d.fail(n.GetToken(), f.path, "want names, and below each name keys and values: "+keys(f.sample()))
		return
	}
	for each := mapping.MapRange(); each.Next(); {
		at := each.Key().GetToken()
		name, ok := scalar(each.Key())
		if !ok || !setting.ValidName(name) {
			d.fail(at, f.path, badName(name))
			continue
		}
		path, entry := below(f.path, name), f.entry(name)
		d.places[path] = at
		d.section(path, entry, each.Value())
		f.put(name, entry)
	}
}

// texts decodes texts under keys of the file's own. An empty mapping changes nothing.
func (d *decoder) texts(f field, n ast.Node) {
	if n.Type() == ast.NullType {
		return
	}
	mapping, ok := n.(ast.MapNode)
	if !ok {
		d.fail(n.GetToken(), f.path, "want keys and values, such as {a: b}")
		return
	}
	for each := mapping.MapRange(); each.Next(); {
		key, ok := scalar(each.Key())
		if !ok || key == "" {
			d.fail(each.Key().GetToken(), f.path, "want a plain key")
			continue
		}
		path := below(f.path, key)
		d.places[path] = each.Value().GetToken()
		text, ok := scalar(each.Value())
		if !ok {
			d.fail(each.Value().GetToken(), path, "want one value")
			continue
		}
		f.put(key, reflect.ValueOf(text))
	}
}

func badName(name string) string {
	return fmt.Sprintf("want a name of 1 to 64 of A-Z a-z 0-9 _ -, not %q", name)
}

// sections decodes a sequence of sections. An empty one changes nothing.
func (d *decoder) sections(f field, n ast.Node) {
	if n.Type() == ast.NullType {
		return
	}
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(n.GetToken(), f.path, "want a list, each item with keys and values: "+keys(f.sample()))
		return
	}
	for i, item := range sequence.Values {
		path, entry := below(f.path, strconv.Itoa(i)), reflect.New(f.value.Type().Elem()).Elem()
		d.places[path] = item.GetToken()
		d.section(path, entry, item)
		f.value.Set(reflect.Append(f.value, entry))
	}
}

// list decodes a sequence of texts.
func (d *decoder) list(f field, n ast.Node) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(n.GetToken(), f.path, "want a list, such as [a, b]")
		return
	}
	for _, item := range sequence.Values {
		text, ok := scalar(item)
		if !ok {
			d.fail(item.GetToken(), f.path, "want a list of texts")
			return
		}
		f.value.Set(reflect.Append(f.value, reflect.ValueOf(text)))
	}
}

func (d *decoder) option(f field, n ast.Node) {
	if f.secret() && f.way == inText {
		d.hide(n.GetToken())
		if block, ok := n.(*ast.LiteralNode); ok {
			d.hide(block.Value.GetToken())
		}
	}
	text, ok := scalar(n)
	if !ok {
		d.fail(n.GetToken(), f.path, "want one value; leave the key out for the default")
		return
	}
	d.scalar(f, text, n.GetToken())
}

// scalar sets an option from a text.
func (d *decoder) scalar(f field, text string, at *token.Token) {
	if f.secret() && f.way == inText && text != "" && d.public {
		d.fail(at, f.path, "everybody on the machine can read a command line: want "+f.key+string(inFile)+", "+f.key+string(inEnv)+" or a LONGLINE_ variable")
		return
	}
	if f.secret() && text != "" {
		base := strings.TrimSuffix(f.path, string(f.way))
		if first := d.secrets[base]; first != "" {
			d.fail(at, f.path, "is also given as "+first+": want one of them")
			return
		}
		d.secrets[base] = f.path
	}
	switch err := f.set(text); {
	case err != nil && f.secret():
		d.fail(at, f.path, err.Error())
	case err != nil:
		d.fail(at, f.path, fmt.Sprintf("%v, not %q", err, text))
	}
}

// scalar returns the text of a plain or quoted value, or of a block behind > or |. The file may not use anchors, aliases
// or tags.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// check adds the errors of Check, at their places.
func (d *decoder) check(c *Config) {
	joined, ok := c.Check().(interface{ Unwrap() []error })
	if !ok {
		return
	}
	for _, err := range joined.Unwrap() {
		var e *KeyError
		if errors.As(err, &e) {
			d.fail(d.place(e.Key), e.Key, e.Msg)
		}
	}
}

// locate adds an error, which begins with a key, at the option that it is about.
func (d *decoder) locate(err error) {
	if err == nil {
		return
	}
	key, msg, _ := strings.Cut(err.Error(), " ")
	key = strings.TrimSuffix(key, ":")
	found, longest := key, 0
	for path, at := range d.places {
		if !strings.HasPrefix(path+".", key+".") || !strings.Contains(msg, at.Value) {
			continue
		}
		n := len(at.Value)
		if n > len("[]") && (n > longest || n == longest && path < found) { // longer than the mark of a list or a section
			found, longest = path, n
		}
	}
	d.fail(d.places[found], found, msg)
}

// place returns where the value of a key is or, if it has none, what the key is below; nil when that is not in the file.
func (d *decoder) place(key string) *token.Token {
	for {
		if at := d.places[key]; at != nil {
			return at
		}
		i := strings.LastIndexByte(key, '.')
		if i < 0 {
			return nil
		}
		key = key[:i]
	}
}
