package topic

import (
	"fmt"
	"slices"
	"testing"
)

func walk(m *Map[string], filter string) (found []string) {
	m.Walk(filter, func(v string) bool { found = append(found, v); return true })
	slices.Sort(found)
	return found
}

func TestMapExamples(t *testing.T) {
	m := NewMap[string]()
	for _, tt := range matches {
		m.Set(tt.topic, tt.topic)
	}
	for _, tt := range matches {
		if got := slices.Contains(walk(m, tt.filter), tt.topic); got != tt.want {
			t.Errorf("filter %q finds %q: %v", tt.filter, tt.topic, got)
		}
	}
}

func TestMapStops(t *testing.T) {
	m := NewMap[string]()
	for i := range 10 {
		m.Set(fmt.Sprintf("a/%d/b/%d", i/2, i), "v")
	}
	for _, filter := range []string{"#", "a/#", "a/+/b/+", "a/+/#"} {
		n := 0
		m.Walk(filter, func(string) bool { n++; return n < 3 })
		if n != 3 {
			t.Errorf("filter %q yielded %d after it was told to stop at 3", filter, n)
		}
	}
}

// FuzzMap compares the map with Go's own under Match. Five bytes are a step.
func FuzzMap(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 1, 1, 2, 3, 4})
	f.Add([]byte("set and delete, set and delete, set and delete again and again"))
	f.Fuzz(func(t *testing.T, script []byte) {
		m, model := NewMap[string](), map[string]string{}
		for ; len(script) >= 5; script = script[5:] {
			name := path(script[1], script[2], nameLevels)
			_, there := model[name]
			if script[0]&1 == 0 {
				m.Set(name, name)
				model[name] = name
			} else {
				if m.Delete(name) != there {
					t.Fatalf("Delete(%q) is wrong", name)
				}
				delete(model, name)
			}
			if v, ok := m.Get(name); v != model[name] || ok != (script[0]&1 == 0) {
				t.Fatalf("Get(%q) = %q, %v", name, v, ok)
			}

			filter := path(script[3], script[4], filterLevels)
			if ValidateFilter(filter, Limits{}) != nil {
				continue
			}
			var want, all []string
			for name := range model {
				all = append(all, name)
				if Match(filter, name) {
					want = append(want, name)
				}
			}
			slices.Sort(want)
			if got := walk(m, filter); !slices.Equal(got, want) {
				t.Fatalf("filter %q: got %q, want %q of %q", filter, got, want, all)
			}
			n := 0
			m.All(func(string) bool { n++; return true })
			if n != len(model) || m.Len() != n {
				t.Fatalf("%d values, Len %d, want %d", n, m.Len(), len(model))
			}
		}
		for name := range model {
			m.Delete(name)
		}
		if m.Len() != 0 || len(m.tree.root.heads) != 0 {
			t.Fatalf("left behind: %d, %d nodes", m.Len(), len(m.tree.root.heads))
		}
	})
}
