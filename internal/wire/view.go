package wire

import "unsafe"

// viewString returns b as a string without copying it. The string changes when b does.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// viewBytes returns the bytes of s without copying them. Only the bytes of a view may be written.
func viewBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
