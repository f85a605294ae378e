//go:build servers && !long

package sinks

// long says that the tests have their long form.
const long = false
