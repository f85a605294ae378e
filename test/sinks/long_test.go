//go:build long

package sinks

// long says that the tests have their long form.
const long = true
