package ledger

import (
	"maps"
	"slices"
	"sync"
)

// Account is a receiver that counts for itself and is no device: a backend's subscription, a stream.
type Account interface {
	// Ledger returns the account at one moment. It takes the receiver's lock, for a short time, so the caller holds none.
	Ledger() Receiver
}

// Book has the accounts of receivers that are no devices, by kind, also those of receivers that have ended. The zero value
// is empty. Its methods are safe from any goroutine; their callers hold no lock of a receiver.
type Book struct {
	// Guarded by mu, under which the accounts' own locks are taken.
	mu    sync.Mutex
	open  map[Account]string   // the kind
	ended map[string]*Receiver // by kind
}

// Open adds the account of a receiver that begins. The kind names a part of the node's ledger.
func (b *Book) Open(kind string, a Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open, b.ended = make(map[Account]string), make(map[string]*Receiver)
	}
	b.open[a] = kind
	if b.ended[kind] == nil {
		b.ended[kind] = new(Receiver)
	}
}

// Close adds what a receiver has counted to those of its kind that have ended. The receiver counts no more.
func (b *Book) Close(a Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kind, is := b.open[a]
	if !is {
		return
	}
	delete(b.open, a)
	last := a.Ledger()
	b.ended[kind].Add(&last)
}

// AddTo adds one part per kind to a node's ledger.
func (b *Book) AddTo(n *Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	sums := make(map[string]*Receiver, len(b.ended))
	for kind, ended := range b.ended {
		sums[kind] = new(Receiver)
		sums[kind].Add(ended)
	}
	for a, kind := range b.open {
		now := a.Ledger()
		sums[kind].Add(&now)
	}
	for _, kind := range slices.Sorted(maps.Keys(sums)) {
		n.AddReceiver(kind, sums[kind])
	}
}
