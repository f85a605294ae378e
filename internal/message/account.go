package message

import (
	"hash/maphash"
	"sync/atomic"
	"unsafe"
)

// Account is what a node owes: the bytes of the messages that it keeps for somebody, in queues, lines,
// retained, as wills. A message that many wait for is in it once, and each place in which it is kept as an
// entry. It is asked before a message is taken, so that it cannot be outrun. A nil Account has no
// bound. Safe from any goroutine.
//
// It has shares, so that nobody fills it for all. A device may owe as much as is still free, and so may, four times
// over, all devices of one credential together, or a backend. So whoever fills it is refused at a half, or
// at four fifths; of many who fill it each is refused the sooner, and something is always left for publishers of
// whom little is kept.
type Account struct {
	bytes, most atomic.Int64

	// By Debtor. Publishers of one place have one share.
	devices, credentials [debtorPlaces]atomic.Int64
}

// debtorPlaces bounds the memory of the shares. A publisher has the place of a given other by chance, one in as many.
const debtorPlaces = 1 << 14

// credentialShare is how many times what is free the publishers of one credential may owe.
const credentialShare = 4

// Debtor is who published a message, as an Account knows it. The zero value is the gateway itself, which has no share.
type Debtor struct{ device, credential uint16 }

var debtorSeed = maphash.MakeSeed()

// DebtorOf is a device and its credential, a number without order; 0 is none.
func DebtorOf(device string, credential uint64) Debtor {
	var d Debtor
	if device != "" {
		d.device = placeOf(maphash.String(debtorSeed, device))
	}
	if credential != 0 {
		d.credential = placeOf(credential)
	}
	return d
}

// BackendDebtor is a backend, by the name of its token, which may be empty.
func BackendDebtor(name string) Debtor {
	return Debtor{credential: placeOf(maphash.String(debtorSeed, name))}
}

// placeOf is never 0, which is nobody's.
func placeOf(hash uint64) uint16 { return uint16(1 + hash%(debtorPlaces-1)) }

// Part is what of an Account is full.
type Part uint8

// The parts.
const (
	NoPart       Part = iota
	OfNode            // all of it
	OfDevice          // the device's share
	OfCredential      // that of its credential, or of the backend
)

// SetLimit bounds the account, in bytes; 0 is no bound.
func (a *Account) SetLimit(bytes int64) {
	if a != nil {
		a.most.Store(bytes)
	}
}

// Full returns what is full for a publisher, so that nothing more of it may be taken; NoPart is nothing.
func (a *Account) Full(d Debtor) Part {
	if a == nil {
		return NoPart
	}
	most, bytes := a.most.Load(), a.bytes.Load()
	free := most - bytes
	switch {
	case most == 0:
		return NoPart
	case free <= 0:
		return OfNode
	case bytes <= free: // nobody owes more
		return NoPart
	case d.device != 0 && a.devices[d.device].Load() > free:
		return OfDevice
	case d.credential != 0 && a.credentials[d.credential].Load() > credentialShare*free:
		return OfCredential
	}
	return NoPart
}

// Bytes returns what is owed, and the bound.
func (a *Account) Bytes() (owed, limit int64) {
	if a == nil {
		return 0, 0
	}
	return a.bytes.Load(), a.most.Load()
}

const (
	messageBytes = int64(unsafe.Sizeof(Message{})) + 64 // and the allocator's rounding
	entryBytes   = 64                                   // of a queue or a list, which grow by doubling
)

// Hold notes one more place in which an owned message is kept. Who keeps it no longer calls Release. Its Debtor is
// not changed any more.
func (m *Message) Hold(a *Account) {
	if a == nil {
		return
	}
	n := int64(entryBytes)
	if m.holders.Add(1) == 1 {
		n += messageBytes + int64(m.Size())
	}
	a.add(m.Debtor, n)
}

// Release undoes a Hold.
func (m *Message) Release(a *Account) {
	if a == nil {
		return
	}
	n := int64(entryBytes)
	if m.holders.Add(-1) == 0 {
		n += messageBytes + int64(m.Size())
	}
	a.add(m.Debtor, -n)
}

func (a *Account) add(d Debtor, n int64) {
	a.bytes.Add(n)
	if d.device != 0 {
		a.devices[d.device].Add(n)
	}
	if d.credential != 0 {
		a.credentials[d.credential].Add(n)
	}
}
