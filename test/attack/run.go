package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// options are those of a run.
type options struct {
	Quick    bool          `help:"The short form: measure calm once, and each attack for little more than a second."`
	Only     []string      `placeholder:"NAME" help:"Only these attacks."`
	Devices  int           `default:"1000" help:"Honest devices (${default})."`
	Rate     float64       `default:"1000" help:"Messages a second that they publish, all together (${default})."`
	Calm     time.Duration `default:"2s" help:"Time that calm is measured before an attack (${default})."`
	Duration time.Duration `help:"Time of an attack (8s, in the short form 1.3s)."`
	Floor    time.Duration `default:"3ms" help:"A 99th percentile below this counts as this: what a busy machine's scheduler alone adds (${default})."`
	Limit    time.Duration `default:"12m" help:"Most that a run may take (${default})."`
	Longline string        `default:"bin/longline" type:"existingfile" help:"The gateway's program (${default})."`
}

// slower is by how much the honest devices' latency may grow.
const slower = 3

var errMissed = errors.New("the gateway did not hold")

// Run makes the attacks. The error is errMissed when the gateway did not hold against one.
func (o *options) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limit, fmt.Errorf("the run took longer than %v", o.Limit))
	defer cancel()
	if o.Duration == 0 {
		o.Duration = 8 * time.Second
		if o.Quick {
			o.Duration = 1300 * time.Millisecond
		}
	}
	list, err := o.attacks()
	if err != nil {
		return err
	}
	r := &round{options: o}
	defer r.close()
	t := newTable(os.Stdout, o)
	missed := 0
	for i := range list {
		outcome, err := r.attack(ctx, &list[i])
		if err != nil {
			return fmt.Errorf("%s: %w", list[i].name, cmpCause(ctx, err))
		}
		t.row(&outcome)
		missed += len(outcome.missed)
	}
	if missed > 0 {
		return errMissed
	}
	return nil
}

// cmpCause prefers why ctx has ended.
func cmpCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// attacks are all, or those that were asked for.
func (o *options) attacks() ([]attack, error) {
	for _, name := range o.Only {
		if find(name) == nil {
			return nil, fmt.Errorf("there is no attack %q", name)
		}
	}
	return slices.DeleteFunc(slices.Clone(attacks), func(a attack) bool {
		return len(o.Only) > 0 && !slices.Contains(o.Only, a.name)
	}), nil
}
