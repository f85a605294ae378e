package topic

import "testing"

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/c", false},
		{"a/+", "a/c", true},
		{"a/+", "a/c/d", false},
		{"a/#", "a/c/d", true},
		{"a/#", "a", true},
		{"a/#", "b/#", false},
		{"a/+/c", "+/b/c", true},
		{"a/+/c", "+/b/d", false},
		{"#", "a/b", true},
		{"#", "$presence/x", false},
		{"+/x", "$presence/x", false},
		{"$presence/#", "$presence/x", true},
		{"#", "+", true},
		{"a/b/#", "a", false},
	} {
		if Overlap(c.a, c.b) != c.want || Overlap(c.b, c.a) != c.want {
			t.Errorf("Overlap(%q, %q), either way: want %v", c.a, c.b, c.want)
		}
	}
}
