package topic

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValidate(t *testing.T) {
	const name, filter = 1, 2
	tests := []struct {
		in    string
		valid int    // as name and as filter
		says  string // a part of the expected errors
	}{
		{"device/7/up", name | filter, ""},
		{"/", name | filter, ""},
		{"a//b/", name | filter, ""},
		{"$gateway/x", name | filter, ""},
		{"température/é", name | filter, ""},
		{"+", filter, "level 1 has a wildcard"},
		{"#", filter, "level 1 has a wildcard"},
		{"a/+/b/#", filter, "level 2 has a wildcard"},
		{"a/b+", 0, "level 2"},
		{"a/#b", 0, "level 2"},
		{"a/#/b", 0, "level 2"},
		{"", 0, "is empty"},
		{"a/b\x00", 0, "level 2 has a NUL"},
		{"a/b/\xff", 0, "level 3 is not valid UTF-8"},
		{"a/\xed\xa0\x80", 0, "level 2 is not valid UTF-8"}, // U+D800, §1.5.4
		{strings.Repeat("a/", 15) + "a", name | filter, ""},
		{strings.Repeat("a/", 16), 0, "more than 16 levels"},
		{strings.Repeat("a", 1024), name | filter, ""},
		{strings.Repeat("a", 1025), 0, "longer than 1024 bytes"},
	}
	for _, tt := range tests {
		check := func(kind string, valid bool, err error) {
			if valid != (err == nil) {
				t.Errorf("%s %.40q: error %v", kind, tt.in, err)
			}
			if e := (*Error)(nil); err != nil &&
				(!errors.As(err, &e) || e.What != kind || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%s %.40q: error %q does not say %q", kind, tt.in, err, tt.says)
			}
		}
		check("topic", tt.valid&name != 0, ValidateName(tt.in, Limits{}))
		check("filter", tt.valid&filter != 0, ValidateFilter(tt.in, Limits{}))
	}
}

func TestLimits(t *testing.T) {
	if err := ValidateName("a/b/c", Limits{Depth: 2}); err == nil {
		t.Error("3 levels pass a limit of 2")
	}
	if err := ValidateName("abc", Limits{Length: 2}); err == nil {
		t.Error("3 bytes pass a limit of 2")
	}
	if err := ValidateName(strings.Repeat("a", 65536), Limits{Length: 1 << 20}); err == nil {
		t.Error("65536 bytes pass, which MQTT cannot say")
	}
}

func TestValidateDevice(t *testing.T) {
	for _, id := range []string{"a", "CP-01.eu_west:7", strings.Repeat("x", 128), "x:RDAM:7C123", "x:x:3A", "x:" + strings.Repeat(":20", 128)} {
		if err := ValidateDevice(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", "a/b", "a b", "+", "#", "é", "a\x00", strings.Repeat("x", 129),
		"x:", "x:a", "x:a:3ab", "x:a:2", "x:a:20:", "x:a:zz", "x:a:20b:7c", "x:" + strings.Repeat(":20", 129), "x:" + strings.Repeat(":", 100_000)} {
		if err := ValidateDevice(id); err == nil {
			t.Errorf("%q passes", id)
		}
	}
}

// The examples of MQTT 5 §4.7.1 to §4.7.3.
var matches = []struct {
	filter, topic string
	want          bool
}{
	{"sport/tennis/player1/#", "sport/tennis/player1", true},
	{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
	{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
	{"sport/tennis/player1/#", "sport/tennis/player2", false},
	{"sport/#", "sport", true},
	{"#", "sport/tennis", true},
	{"sport/tennis/+", "sport/tennis/player1", true},
	{"sport/tennis/+", "sport/tennis/player1/ranking", false},
	{"sport/+", "sport", false},
	{"sport/+", "sport/", true},
	{"+/tennis/#", "sport/tennis", true},
	{"sport/+/player1", "sport/tennis/player1", true},
	{"+/+", "/finance", true},
	{"/+", "/finance", true},
	{"+", "/finance", false},
	{"#", "$SYS/x", false},
	{"+/monitor/Clients", "$SYS/monitor/Clients", false},
	{"$SYS/#", "$SYS/x", true},
	{"$SYS/#", "$SYS", true},
	{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
	{"a/+", "a/$b", true},
	{"ACCOUNTS", "Accounts", false},
	{"/finance", "finance", false},
	{"+/#", "a", true},
	{"a/b", "a/bc", false},
	{"a/bc", "a/b", false},
	{"a/b", "a", false},
	{"a", "a/b", false},
	{"a/", "a", false},
}

func TestMatch(t *testing.T) {
	for _, tt := range matches {
		if got := Match(tt.filter, tt.topic); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.filter, tt.topic, got)
		}
	}
}

// FuzzValidate compares the validators with a simple implementation of the rules.
func FuzzValidate(f *testing.F) {
	for _, s := range []string{"", "/", "a/+/#", "a/#/b", "a+", "a\x00", "\xff/#", strings.Repeat("/", 16)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		levels := strings.Split(s, "/")
		text := s != "" && len(s) <= 1024 && len(levels) <= 16 &&
			utf8.ValidString(s) && !strings.Contains(s, "\x00")
		name, filter := text && !strings.ContainsAny(s, "+#"), text
		for i, level := range levels {
			if level != "+" && !(level == "#" && i == len(levels)-1) && strings.ContainsAny(level, "+#") {
				filter = false
			}
		}
		if err := ValidateName(s, Limits{}); (err == nil) != name {
			t.Errorf("ValidateName(%q) = %v", s, err)
		}
		if err := ValidateFilter(s, Limits{}); (err == nil) != filter {
			t.Errorf("ValidateFilter(%q) = %v", s, err)
		}
		if name && !Match(s, s) {
			t.Errorf("%q does not match itself", s)
		}
		if ValidateDevice(s) == nil && (!name || len(s) > len(escaped)+3*maxDevice || len(levels) > 1) {
			t.Errorf("%q is a device id but not a level of a name", s)
		}
	})
}
