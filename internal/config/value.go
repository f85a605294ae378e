package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/setting"
)

// set parses text as the value of f. Errors say what is wanted.
func (f field) set(text string) error {
	switch {
	case f.secret():
		return f.setSecret(text)
	case f.value.Type() == durationType:
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return errors.New("want a duration such as 500ms, 30s or 1h")
		}
		f.value.SetInt(int64(d))
	case f.value.Kind() == reflect.Int && f.bytes:
		n, ok := parseBytes(text)
		if !ok {
			return errors.New("want a number of bytes such as 512, 64KiB or 1MiB")
		}
		f.value.SetInt(int64(n))
	case f.value.Kind() == reflect.Int:
		n, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
		if err != nil || n < 0 {
			return errors.New("want a whole number, 0 or more")
		}
		f.value.SetInt(int64(n))
	case f.value.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return errors.New("want true or false")
		}
		f.value.SetBool(text == "true")
	case f.value.Kind() == reflect.String:
		f.value.SetString(text)
	default:
		return fmt.Errorf("an option cannot have type %v", f.value.Type())
	}
	return nil
}

// setSecret sets f, a secret, from text: the secret itself, or the name of a file or environment variable.
func (f field) setSecret(text string) error {
	s := setting.NewSecret(text)
	switch f.way {
	case inFile:
		s = setting.SecretFile(text)
	case inEnv:
		if s = setting.NewSecret(os.Getenv(text)); text != "" && !s.Given() {
			return fmt.Errorf("the environment variable %q is not set, or empty", text)
		}
	}
	if text != "" {
		f.value.Set(reflect.ValueOf(s))
	}
	return nil
}

// text returns the value of f as the file would have it. It is not for secrets.
func (f field) text() string {
	switch v := f.value.Interface().(type) {
	case setting.Secret:
		switch {
		case f.way == inFile:
			return quote(v.File())
		case f.way == inText && v.Given() && v.File() == "":
			return v.String()
		}
		return quote("")
	case time.Duration:
		return formatDuration(v)
	case string:
		return quote(v)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case map[string]string:
		each := make([]string, 0, len(v))
		for _, name := range f.names() {
			each = append(each, strconv.Quote(name.String())+": "+quote(v[name.String()]))
		}
		return "{" + strings.Join(each, ", ") + "}"
	case int:
		if f.bytes {
			return formatBytes(v)
		}
	}
	return fmt.Sprint(f.value.Interface())
}

// quote quotes s unless it is a plain word.
func quote(s string) string {
	if s == "" {
		return `""`
	}
	for _, r := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz", r) {
			return strconv.Quote(s)
		}
	}
	return s
}

var units = []struct {
	name string
	size int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// parseBytes reads a size such as 512, 64KiB, 1MiB or 2GiB.
func parseBytes(s string) (int, bool) {
	size := 1
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, size = strings.TrimRight(rest, " "), u.size
			break
		}
	}
	n, err := strconv.Atoi(s)
	return n * size, err == nil && n >= 0 && n <= math.MaxInt/size
}

// formatBytes formats n in the largest unit that divides it.
func formatBytes(n int) string {
	for _, u := range units {
		if n >= u.size && n%u.size == 0 {
			return strconv.Itoa(n/u.size) + u.name
		}
	}
	return strconv.Itoa(n)
}

// formatDuration formats d without the zero parts that String adds: 1h, not 1h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
