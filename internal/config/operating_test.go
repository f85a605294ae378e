package config

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// noLimits are the numeric options that limit nothing.
var noLimits = []string{
	"node.number", "gateway.loops", "gateway.compress_above",
	"auth.basic.min_password", "auth.basic.max_password", "auth.jwt.leeway",
	"api.heartbeat",
}

// docs/operating.md says for each limit how to notice and what to do when it is reached.
func TestOperatingNamesEveryLimit(t *testing.T) {
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	for path, f := range all(reflect.ValueOf(Config{})) {
		if f.value.Kind() != reflect.Int && f.value.Kind() != reflect.Int64 || slices.Contains(noLimits, path) {
			continue
		}
		section := path[:strings.LastIndexByte(path, '.')]
		if !strings.Contains(string(text), f.key+"`") && !strings.Contains(string(text), "`"+section+"`") {
			t.Errorf("%s is not there", path)
		}
	}
}
