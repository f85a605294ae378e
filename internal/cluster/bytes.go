package cluster

import "unsafe"

// stringOf returns p as a string: a view, which is used while p does not change.
func stringOf(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// bytesOf returns s as bytes, which nobody changes.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
