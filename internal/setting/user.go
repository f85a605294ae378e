package setting

import "strings"

// WithoutUser returns the text of an address without what may be a user and a password in it, for the error that refuses it.
func WithoutUser(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	scheme, _, found := strings.Cut(address[:at], "://")
	if !found {
		return "…" + address[at:]
	}
	return scheme + "://…" + address[at:]
}
