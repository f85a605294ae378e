package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// options are the options of a run.
type options struct {
	Quick    bool          `help:"The short form: measure the calm once, and each attack for little more than a second."`
	Only     []string      `placeholder:"NAME" help:"Make only these attacks."`
	Devices  int           `default:"1000" help:"Number of honest devices (${default})."`
	Rate     float64       `default:"1000" help:"Messages per second of all honest devices together (${default})."`
	Calm     time.Duration `default:"2s" help:"How long the calm before an attack is measured (${default})."`
	Duration time.Duration `help:"How long an attack lasts (8s, in the short form 1.3s)."`
	Floor    time.Duration `default:"3ms" help:"A lower 99th percentile counts as this one, because the scheduler of a busy machine alone adds as much (${default})."`
	Limit    time.Duration `default:"12m" help:"Longest time of a run (${default})."`
	Longline string        `default:"bin/longline" type:"existingfile" help:"The gateway's program (${default})."`
}

// slower is the factor by which the honest devices' latency may grow.
const slower = 3

var errMissed = errors.New("the gateway did not hold")

// Run makes the attacks. It returns errMissed if the gateway did not hold against one.
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

// cmpCause returns why ctx has ended, or err if it has not.
func cmpCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// attacks returns all attacks, or those that the options name.
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
