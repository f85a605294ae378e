// Package registrytest is the contract of registry.Discovery as a test that every implementation runs against its registry.
package registrytest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/reload"
)

// Registry is where a test says which instances there are.
type Registry interface {
	// Hosts returns two that its instances may have.
	Hosts() (one, two string)
	// Set replaces the instances of the service. They are at port 9001.
	Set(t *testing.T, all []registry.Instance)
	// Source returns where they are found.
	Source() registry.Source
	// Down makes the registry unreachable until the returned function is called; then it has the instances of the last Set again.
	Down(t *testing.T) (up func())
}

// Run tests a Discovery. weights says whether the registry knows weights.
func Run(t *testing.T, r Registry, weights bool) {
	a, b := r.Hosts()
	instance := func(host string, weight int) registry.Instance {
		return registry.Instance{URL: "http://" + host + ":9001", Weight: weight}
	}
	one, two := instance(a, 1), instance(b, 1)
	sets := [][]registry.Instance{{one}, {one, two}, {two}, nil, {one, two}}
	if weights {
		sets = slices.Insert(sets, 2, []registry.Instance{one, instance(b, 3)})
	}
	d := open(t, r)
	await(t, d, nil)
	for _, set := range sets {
		r.Set(t, set)
		await(t, d, set)
	}
	up := r.Down(t)
	later := open(t, r)
	for _, d := range []registry.Discovery{d, later} {
		awaitError(t, d)
	}
	up()
	await(t, d, []registry.Instance{one, two})
	await(t, later, []registry.Instance{one, two})
	r.Set(t, []registry.Instance{one})
	await(t, d, []registry.Instance{one})
	r.Set(t, nil)
}

func open(t *testing.T, r Registry) registry.Discovery {
	t.Helper()
	d, err := registry.Open(r.Source(), new(reload.Watcher))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// patience is how long a registry may take until it tells of a change, or until it answers nothing.
const patience = 2 * time.Minute

// await asks until the set is what is wanted.
func await(t *testing.T, d registry.Discovery, want []registry.Instance) {
	t.Helper()
	ask(t, d, func(all []registry.Instance, err error) bool {
		slices.SortFunc(all, func(a, b registry.Instance) int { return strings.Compare(a.URL, b.URL) })
		return err == nil && slices.Equal(all, want)
	}, want)
}

// awaitError asks until the set is not known.
func awaitError(t *testing.T, d registry.Discovery) {
	t.Helper()
	ask(t, d, func(_ []registry.Instance, err error) bool { return err != nil }, "an error")
}

func ask(t *testing.T, d registry.Discovery, good func([]registry.Instance, error) bool, want any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		find, done := context.WithTimeout(ctx, 20*time.Second)
		all, err := d.Find(find)
		done()
		if good(all, err) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("found %v, %v; want %v", all, err, want)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
