package registry

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Times of a registration.
const (
	look          = time.Second      // how often the gateway's state is looked at
	announcePause = 10 * time.Second // between two announcements, unless the gateway begins or ceases to take devices
	leaveTries    = 3
)

// registered is the gateway in one registry.
type registered struct {
	// Static after construction.
	name         string
	announcer    announcer
	ttl          time.Duration
	registration *Registration
	running      sync.WaitGroup

	known atomic.Bool // the registry knows the gateway, as far as the last answer said

	// Owned by run; by leave when run has ended.
	tried     bool      // the registry may know the gateway
	told      State     // what the last announcement said
	announced time.Time // when it was
	renewed   time.Time // when the registry last took a sign of life
	failing   backoff
	problem   error
}

func (r *registered) isKnown() bool { return r.known.Load() }

// run announces the gateway, renews that, and does it again whenever the registry does not know it, until ctx ends.
func (r *registered) run(ctx context.Context) {
	r.failing.most = min(mostPause, r.ttl/3)
	for ctx.Err() == nil {
		pause := look
		err := r.tell(ctx, time.Now(), r.registration.state())
		if ctx.Err() != nil {
			return
		}
		r.note(err)
		if err != nil {
			pause = r.failing.next()
		} else {
			r.failing.reset()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// tell says what the registry has to know now, if anything.
func (r *registered) tell(ctx context.Context, now time.Time, s State) error {
	switch {
	case !r.known.Load() || s.takesDevices() != r.told.takesDevices() || s.differs(r.told) && now.Sub(r.announced) >= announcePause:
		r.tried = true
		if err := r.announcer.announce(ctx, s); err != nil {
			return err
		}
		r.told, r.announced = s, now
	case now.Sub(r.renewed) >= r.ttl/3:
		if err := r.announcer.renew(ctx, r.told); err != nil {
			if errors.Is(err, errForgotten) {
				r.known.Store(false)
			}
			return err
		}
	default:
		return nil
	}
	r.renewed = now
	r.known.Store(true)
	return nil
}

// note logs the problem with the registry when it begins and ends.
func (r *registered) note(err error) {
	log := r.registration.log
	switch {
	case err != nil && r.problem == nil:
		log.Warn("a registry cannot be told of the gateway, which tries again", "registry", r.name, "error", err)
	case err == nil && r.problem != nil:
		log.Info("the registry knows the gateway again", "registry", r.name)
	}
	r.problem = err
}

// leave makes the registry forget the gateway, when run has ended. It tries few times: a registry that is away forgets by itself.
func (r *registered) leave(ctx context.Context) {
	r.running.Wait()
	defer r.announcer.close()
	if !r.tried {
		return
	}
	var err error
	failing := backoff{most: time.Second}
	for range leaveTries {
		if err = r.announcer.leave(ctx); err == nil {
			r.known.Store(false)
			return
		}
		select {
		case <-time.After(failing.next()):
		case <-ctx.Done():
		}
	}
	r.registration.log.Warn("the gateway leaves, and the registry cannot be told: it forgets the gateway after register.ttl", "registry", r.name, "error", err)
}
