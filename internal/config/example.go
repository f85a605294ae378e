package config

import (
	"fmt"
	"reflect"
	"strings"
)

const preface = `# Longline, as in: longline serve --config FILE
#
# Every option with its default. What is left out, 0 or empty is the default. Durations are
# such as 500ms, 30s, 1h; bytes such as 512, 64KiB, 1MiB.
`

// Example is a file that names every option, each as a comment with its default.
func Example() []byte {
	var b strings.Builder
	b.WriteString(preface)
	defaults := Config{}.WithDefaults()
	example(&b, "", "", reflect.ValueOf(defaults))
	return []byte(b.String())
}

func example(b *strings.Builder, indent, path string, section reflect.Value) {
	for f := range fields(path, section) {
		if f.section() {
			fmt.Fprintf(b, "\n%s%s: # %s\n", indent, f.key, f.help)
			example(b, indent+"  ", f.path, f.value)
			continue
		}
		fmt.Fprintf(b, "%s# %s\n%s#%s: %s\n", indent, f.help, indent, f.key, f.text())
	}
}
