package config

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

const preface = `# Longline, as in: longline serve --config FILE
#
# Every option with its default. An option that is left out, 0 or empty has its default. Durations are
# written 500ms, 30s or 1h; sizes 512, 64KiB or 1MiB.
`

// Example returns a file that names every option, each as a comment with its default.
func Example() []byte {
	var b strings.Builder
	b.WriteString(preface)
	defaults := Config{}.WithDefaults()
	example(&b, "", "", reflect.ValueOf(defaults))
	return []byte(b.String())
}

// Print writes c in the form of a file, with its defaults, without secrets.
func Print(w io.Writer, c Config) error {
	var b strings.Builder
	printSection(&b, "", "", reflect.ValueOf(c.WithDefaults()))
	_, err := io.WriteString(w, b.String())
	return err
}

func printSection(b *strings.Builder, indent, path string, section reflect.Value) {
	for f := range fields(path, section) {
		switch {
		case f.section():
			fmt.Fprintf(b, "%s%s:\n", indent, f.key)
			printSection(b, indent+"  ", f.path, f.value)
		case f.named():
			fmt.Fprintf(b, "%s%s:\n", indent, f.key)
			for _, name := range f.names() {
				fmt.Fprintf(b, "%s  %s:\n", indent, name)
				printSection(b, indent+"    ", below(f.path, name.String()), f.value.MapIndex(name))
			}
		case f.sections():
			fmt.Fprintf(b, "%s%s:\n", indent, f.key)
			for i := range f.value.Len() {
				fmt.Fprintf(b, "%s  -\n", indent)
				printSection(b, indent+"    ", below(f.path, strconv.Itoa(i)), f.value.Index(i))
			}
		case f.secret() && f.way == inText && f.text() != quote(""):
			fmt.Fprintf(b, "%s%s: \"\" # %s\n", indent, f.key, f.text())
		case !f.secret() || f.text() != quote(""):
			fmt.Fprintf(b, "%s%s: %s\n", indent, f.key, f.text())
		}
	}
}

func example(b *strings.Builder, indent, path string, section reflect.Value) {
	for f := range fields(path, section) {
		switch {
		case f.section():
			fmt.Fprintf(b, "\n%s%s: # %s\n", indent, f.key, f.help)
			example(b, indent+"  ", f.path, f.value)
			continue
		case f.named(), f.sections():
			fmt.Fprintf(b, "\n%s%s: # %s\n", indent, f.key, f.help)
			exampleOf(b, indent+"  ", f)
			continue
		}
		fmt.Fprintf(b, "%s# %s\n%s#%s: %s\n", indent, f.help, indent, f.key, f.text())
	}
}

// exampleOf writes one section as an example of those that f may hold, all of it as a comment.
func exampleOf(b *strings.Builder, indent string, f field) {
	var one strings.Builder
	head := "NAME:"
	if f.sections() {
		head = "-"
	}
	example(&one, "", f.path, f.sample())
	fmt.Fprintf(b, "%s#%s\n", indent, head)
	for line := range strings.Lines(one.String()) {
		key := strings.TrimLeft(line, " ")
		depth := line[:len(line)-len(key)]
		if strings.HasPrefix(key, "#") && !strings.HasPrefix(key, "# ") {
			key = key[1:]
		}
		if key != "\n" {
			fmt.Fprintf(b, "%s#  %s%s", indent, depth, key)
		}
	}
}
