package message

import (
	"fmt"
	"sync"
	"testing"
)

// A message counts once, however many wait for it, plus one entry for each.
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
	if a.Full(Debtor{}) != NoPart {
		t.Error("an account without a bound is full")
	}
	a.SetLimit(one)
	if a.Full(Debtor{}) != OfNode {
		t.Error("it is not full")
	}
	for range 101 {
		m.Release(a)
	}
	if n := owed(); n != 0 || a.Full(Debtor{}) != NoPart {
		t.Errorf("%d bytes are left", n)
	}
	var none *Account
	none.SetLimit(1)
	m.Hold(none)
	m.Release(none)
	if none.Full(Debtor{}) != NoPart {
		t.Error("no account is full")
	}
}

// fill holds messages of a publisher until one is refused, at most n.
func fill(a *Account, d Debtor, n int) (held []*Message, full Part) {
	for len(held) < n {
		if full = a.Full(d); full != NoPart {
			return held, full
		}
		m := (&Message{Topic: "t", Payload: make([]byte, 600), Debtor: d}).Clone()
		m.Hold(a)
		held = append(held, m)
	}
	return held, NoPart
}

// The publisher that fills the account is refused first, and others only when it is full.
func TestAccountShares(t *testing.T) {
	const limit = 1_000_000
	for _, c := range []struct {
		name    string
		fillers func(i int) Debtor
		n       int
		full    Part
		most    int64 // percent that they fill
	}{
		{"a device", func(int) Debtor { return DebtorOf("evil", 1) }, 1, OfDevice, 51},
		{"three devices", func(i int) Debtor { return DebtorOf(fmt.Sprint("evil-", i), uint64(i+1)) }, 3, OfDevice, 76},
		{"a credential", func(i int) Debtor { return DebtorOf(fmt.Sprint("evil-", i), 1) }, 500, OfCredential, 81},
		{"a backend", func(int) Debtor { return BackendDebtor("evil") }, 1, OfCredential, 81},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := new(Account)
			a.SetLimit(limit)
			var all []*Message
			for round := true; round; { // in turn, until all are refused
				round = false
				for i := range c.n {
					held, full := fill(a, c.fillers(i), 1)
					all = append(all, held...)
					if round = round || len(held) > 0; len(held) == 0 && full != c.full && c.n == 1 {
						t.Fatalf("%v is full, want %v", full, c.full)
					}
				}
			}
			if owed, _ := a.Bytes(); owed < limit/2 || owed > limit/100*c.most {
				t.Errorf("they owe %d of %d, want %d%% at most", owed, limit, c.most)
			}
			if full := a.Full(c.fillers(0)); full != c.full {
				t.Errorf("%v is full for who fills it, want %v", full, c.full)
			}
			for i := 0; ; i++ { // each honest publisher has one message
				d := DebtorOf(fmt.Sprint("meter-", i), uint64(1000+i))
				if a.devices[d.device].Load() > 0 || a.credentials[d.credential].Load() > 0 {
					continue // it shares a place with another publisher
				}
				held, full := fill(a, d, 1)
				all = append(all, held...)
				if full == NoPart {
					continue
				}
				if owed, _ := a.Bytes(); owed < limit || owed > limit+2000 || full != OfNode {
					t.Errorf("honest publishers are refused when %d of %d are owed, as %v is full", owed, limit, full)
				}
				break
			}
			for _, m := range all {
				m.Release(a)
			}
			for i := range debtorPlaces {
				if a.devices[i].Load() != 0 || a.credentials[i].Load() != 0 {
					t.Fatal("something is left in a share")
				}
			}
		})
	}
}

// Goroutines hold and release concurrently; the account then has what is still held.
func TestAccountIsShared(t *testing.T) {
	a, m := new(Account), (&Message{Topic: "t", Debtor: DebtorOf("d", 1)}).Clone()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				m.Hold(a)
				a.Full(m.Debtor)
				m.Release(a)
			}
		})
	}
	all.Wait()
	if owed, _ := a.Bytes(); owed != 0 || a.devices[m.Debtor.device].Load() != 0 {
		t.Errorf("%d bytes are left", owed)
	}
}

// A message held and released by one receiver, the common case.
func BenchmarkAccount(b *testing.B) {
	a, d := new(Account), DebtorOf("d", 1)
	a.SetLimit(1 << 30)
	m := (&Message{Topic: "t", Debtor: d}).Clone()
	for b.Loop() {
		if a.Full(d) == NoPart {
			m.Hold(a)
			m.Release(a)
		}
	}
}
