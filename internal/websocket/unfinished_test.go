package websocket

import "testing"

// A message of which a part has arrived is counted until the rest arrives, or the connection ends. The other
// tests of the package do not run at the same time.
func TestUnfinished(t *testing.T) {
	before := Unfinished()
	held := func(what string, want int64) {
		t.Helper()
		if got := Unfinished() - before; got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	frame := AppendMaskedFrame(nil, Binary, make([]byte, 2000), 1)
	var a, b Reader
	a.Init(new(Config), false)
	b.Init(new(Config), false)
	for _, r := range []*Reader{&a, &b} {
		if _, _, err := r.Next(append([]byte(nil), frame[:100]...)); err != nil {
			t.Fatal(err)
		}
	}
	held("two have begun", 2)
	if _, ev, err := a.Next(append([]byte(nil), frame[100:]...)); err != nil || len(ev.Payload) != 2000 {
		t.Fatalf("%d bytes, %v", len(ev.Payload), err)
	}
	if _, _, err := a.Next(nil); err != nil {
		t.Fatal(err)
	}
	held("one is whole", 1)
	b.Release()
	held("one was given up", 0)
}
