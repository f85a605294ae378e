package message

import "testing"

func TestTraceparent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	trace := TraceOf([]Property{{"a", "b"}, {Traceparent, good}})
	if trace == nil || trace.String() != good || trace.Flags != 1 {
		t.Errorf("got %v", trace)
	}
	if later, err := ParseTraceparent("cc" + good[2:] + "-what.comes"); err != nil || *later != *trace {
		t.Errorf("a later version: %v, %v", later, err)
	}
	for _, bad := range []string{
		"", good[1:], good + "-x", "ff" + good[2:], "01" + good[2:] + "x",
		"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
		"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
	} {
		if got := TraceOf([]Property{{Traceparent, bad}}); got != nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func FuzzParseTraceparent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Fuzz(func(t *testing.T, s string) {
		trace, err := ParseTraceparent(s)
		if err != nil {
			return
		}
		if again, err := ParseTraceparent(trace.String()); err != nil || *again != *trace {
			t.Errorf("%q: %v became %v, %v", s, trace, again, err)
		}
	})
}
