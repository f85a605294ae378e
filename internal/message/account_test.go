package message

import "testing"

// A message is owed once, whoever waits for it, and an entry each.
func TestAccount(t *testing.T) {
	a := new(Account)
	owed := func() int64 { n, _ := a.Bytes(); return n }
	m := (&Message{Topic: "t", Payload: make([]byte, 10_000)}).Clone()
	m.Hold(a)
	one := owed()
	if one < 10_000 || one > 11_000 {
		t.Errorf("a message of 10,000 bytes counts for %d", one)
	}
	for range 100 {
		m.Hold(a)
	}
	if got := owed(); got > one+100*100 {
		t.Errorf("for 101 receivers it counts for %d", got)
	}
	if a.Full() {
		t.Error("an account without a bound is full")
	}
	a.SetLimit(one)
	if !a.Full() {
		t.Error("it is not full")
	}
	for range 101 {
		m.Release(a)
	}
	if n := owed(); n != 0 || a.Full() {
		t.Errorf("%d bytes are left", n)
	}
	var none *Account
	none.SetLimit(1)
	m.Hold(none)
	m.Release(none)
	if none.Full() {
		t.Error("no account is full")
	}
}
