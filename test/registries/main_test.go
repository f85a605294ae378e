//go:build servers || long

// Package registries runs the contract of registry.Discovery against real registries.
package registries

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
