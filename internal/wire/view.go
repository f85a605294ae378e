package wire

import "unsafe"

// viewString returns b as a string without a copy. It changes when b does.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// viewBytes returns the bytes of s without a copy. Only those of a view may be written.
func viewBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
