//go:build servers

// Package balancers runs the configurations of deploy with the real balancers, in front of three gateways.
package balancers

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
