package service

// NewNames returns the Discovery of DNS.
func NewNames(c DNS) Discovery { return newNames(c) }
