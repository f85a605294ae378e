package model

import (
	"container/list"
	"strings"
)

// windows have the elements of the last messages of each key, in the order in which they came. They belong to one goroutine.
type windows struct {
	messages int // of a window
	size     int // of the elements of a message, in bytes
	most     int // windows

	byKey  map[string]*list.Element
	newest list.List // of *window; the one that got a message last is in front
}

// windowOverhead is what a window takes besides its elements, at most.
const windowOverhead = mostKey + 256

// window is a ring of the elements of messages.
type window struct {
	key  string
	ring []byte // of messages
	have int    // messages
	next int    // place in the ring, in messages, of the next one; the oldest one is there if the window is full
}

func newWindows(messages, size, most int) *windows {
	return &windows{messages: messages, size: size, most: most, byKey: make(map[string]*list.Element)}
}

// add adds the elements of a message, and returns the window. forgot reports whether another one had to go for it.
func (w *windows) add(key string, elements []byte) (of *window, forgot bool) {
	at := w.byKey[key]
	if at == nil {
		if len(w.byKey) >= w.most {
			last := w.newest.Back()
			delete(w.byKey, w.newest.Remove(last).(*window).key)
			forgot = true
		}
		at = w.newest.PushFront(&window{key: strings.Clone(key), ring: make([]byte, w.messages*w.size)})
		w.byKey[at.Value.(*window).key] = at
	} else {
		w.newest.MoveToFront(at)
	}
	of = at.Value.(*window)
	copy(of.ring[of.next*w.size:], elements)
	of.next = (of.next + 1) % w.messages
	of.have = min(of.have+1, w.messages)
	return of, forgot
}

// full reports whether a window has all its messages.
func (w *windows) full(of *window) bool { return of.have == w.messages }

// appendPart appends a part of the elements of each message of a full window, the oldest message first.
func (w *windows) appendPart(dst []byte, of *window, from, to int) []byte {
	for n := range w.messages {
		at := (of.next + n) % w.messages * w.size
		dst = append(dst, of.ring[at+from:at+to]...)
	}
	return dst
}
