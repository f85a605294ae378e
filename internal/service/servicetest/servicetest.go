// Package servicetest is the contract of service.Discovery as tests that every implementation runs against its registry.
package servicetest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/service"
)

// Registry is where a test says which instances there are.
type Registry interface {
	// Hosts returns two that its instances may have.
	Hosts() (one, two string)
	// Set replaces the instances of the service.
	Set(t *testing.T, all []service.Instance)
	// Discovery returns what finds them.
	Discovery(t *testing.T) service.Discovery
	// Down makes the registry unreachable until the returned function is called.
	Down(t *testing.T) (up func())
}

// Run tests a Discovery. weights says whether the registry knows weights.
func Run(t *testing.T, r Registry, weights bool) {
	instance := func(host string, weight int) service.Instance {
		if !weights {
			weight = 1
		}
		return service.Instance{URL: "http://" + host + ":9001", Weight: weight}
	}
	a, b := r.Hosts()
	d := r.Discovery(t)
	one, two, heavy := instance(a, 1), instance(b, 1), instance(b, 3)
	last := await(t, d, nil, func() {}, nil)
	for _, set := range [][]service.Instance{{one}, {one, two}, {one, heavy}, {two}, nil, {one, two}} {
		last = await(t, d, last, func() { r.Set(t, set) }, set)
	}
	up := r.Down(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if all, err := d.Find(ctx, nil); err == nil {
		t.Errorf("found %v while the registry is down", all)
	}
	up()
	await(t, d, nil, func() {}, []service.Instance{one, two})
}

// await looks until the set is what is wanted, and returns it.
func await(t *testing.T, d service.Discovery, last []service.Instance, change func(), want []service.Instance) []service.Instance {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	change()
	for {
		all, err := d.Find(ctx, last)
		byURL := func(a, b service.Instance) int { return strings.Compare(a.URL, b.URL) }
		slices.SortFunc(all, byURL)
		if err == nil && slices.Equal(all, want) {
			return all
		}
		if err == nil {
			last = all
		}
		select {
		case <-ctx.Done():
			t.Fatalf("found %v, %v; want %v", all, err, want)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
