package setting

import "testing"

func TestWithoutUser(t *testing.T) {
	for address, want := range map[string]string{
		"":                              "",
		"host:1883":                     "host:1883",
		"tcp://host":                    "tcp://host",
		"tcp://user:pa@ss@host:1883":    "tcp://…@host:1883",
		"user:pass@host:9092":           "…@host:9092",
		"postgres://u:p@h/db?x=y":       "postgres://…@h/db?x=y",
		"redis://:secret@host:6379/0#@": "redis://…@",
	} {
		if got := WithoutUser(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
