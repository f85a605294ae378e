package message

import (
	"hash/maphash"
	"sync/atomic"
	"unsafe"
)

// Account counts what a node owes: the bytes of the messages that it keeps for receivers, in queues and lines,
// as retained messages and as wills. A message that many receivers wait for counts once, and each place that keeps it
// counts as an entry. The router asks the account before it accepts a message, so that no publisher is faster than
// the limit. A nil Account has no limit. Safe from any goroutine.
//
// Shares keep one publisher from using up the whole account. A device may owe as much as is still free. All devices
// of one credential together, or a backend, may owe four times what is free. So a single device is refused when it owes
// half of the limit, and a single credential at four fifths. The more publishers fill the account, the earlier each of
// them is refused, and something is always left for publishers that owe little.
type Account struct {
	bytes, most atomic.Int64

	// By Debtor. Publishers with the same place have one share.
	devices, credentials [debtorPlaces]atomic.Int64
}

// debtorPlaces bounds the memory of the shares. Two given publishers have the same place with a probability of one in debtorPlaces.
const debtorPlaces = 1 << 14

// credentialShare is how many times the free bytes the publishers of one credential may owe.
const credentialShare = 4

// Debtor identifies a message's publisher to an Account. The zero value is the gateway itself, which has no share.
type Debtor struct{ device, credential uint16 }

var debtorSeed = maphash.MakeSeed()

// DebtorOf returns the debtor for a device and its credential, an arbitrary number; 0 is none.
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

// BackendDebtor returns the debtor for a backend with the name of its token, which may be empty.
func BackendDebtor(name string) Debtor {
	return Debtor{credential: placeOf(maphash.String(debtorSeed, name))}
}

// placeOf returns a place from 1 on; 0 stands for nobody.
func placeOf(hash uint64) uint16 { return uint16(1 + hash%(debtorPlaces-1)) }

// Part names what is full in an Account.
type Part uint8

// The parts.
const (
	NoPart       Part = iota
	OfNode            // the whole account
	OfDevice          // the device's share
	OfCredential      // the share of its credential, or of the backend
)

// SetLimit sets the account's limit in bytes; 0 means none.
func (a *Account) SetLimit(bytes int64) {
	if a != nil {
		a.most.Store(bytes)
	}
}

// Full returns which part is full for a publisher, so that no more of its messages may be accepted; NoPart if none is.
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
	case bytes <= free: // nobody owes more than that
		return NoPart
	case d.device != 0 && a.devices[d.device].Load() > free:
		return OfDevice
	case d.credential != 0 && a.credentials[d.credential].Load() > credentialShare*free:
		return OfCredential
	}
	return NoPart
}

// Bytes returns how much is owed, and the limit.
func (a *Account) Bytes() (owed, limit int64) {
	if a == nil {
		return 0, 0
	}
	return a.bytes.Load(), a.most.Load()
}

const (
	messageBytes = int64(unsafe.Sizeof(Message{})) + 64 // with the allocator's rounding
	entryBytes   = 64                                   // in a queue or a list, which grow by doubling
)

// Hold counts one more place that keeps an owned message. The place calls Release when it no longer keeps it. The Debtor must
// not change any more.
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

// Count adds bytes, which may be negative, to what is owed for something else than messages.
func (a *Account) Count(d Debtor, bytes int64) {
	if a != nil {
		a.add(d, bytes)
	}
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
