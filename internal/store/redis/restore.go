package redis

import (
	"context"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// A claim finds what the owner before has written in the last seconds. If Redis loses that together with the claim, the owner before cannot write it again: the
// device is not its own any more when this node has claimed again. So this node writes what its claim had found, before its own writes.

// state is what Redis has of a device: fields of its hash but for those of the claim, and its queue, if a claim gets that.
type state struct{ fields, queue map[string]string }

func parseState(fields, queue rueidis.RedisMessage) (s state, err error) {
	if s.fields, err = fields.AsStrMap(); err == nil {
		s.queue, err = queue.AsStrMap()
	}
	for _, name := range []string{"e", "o", "w"} {
		delete(s.fields, name)
	}
	return s, err
}

// size returns about how many bytes a claim takes in memory.
func (c *made) size() int {
	size := 200
	for _, all := range []map[string]string{c.state.fields, c.state.queue} {
		for name, value := range all {
			size += 64 + len(name) + len(value)
		}
	}
	return size
}

// restores returns the writes that make of what Redis has now what the claim had found, but for messages that were pushed since.
func (c *made) restores(now state) (all []write) {
	of := &changes{device: c.device, epoch: c.epoch}
	w := write{of: of}
	next := func() {
		if w.names() >= mostNames || w.bytes >= mostBytes {
			all = append(all, w)
			w = write{of: of}
		}
	}
	for name := range now.fields {
		if _, stays := c.state.fields[name]; stays {
			continue
		}
		text, entry := strings.CutPrefix(name, "h/")
		if number, err := strconv.ParseUint(text, 10, 64); entry && (err != nil || number > c.newest) {
			continue
		}
		w.remove = append(w.remove, name)
		if entry {
			w.removeQueued = append(w.removeQueued, text)
		}
		next()
	}
	for name, value := range c.state.fields {
		was, there := now.fields[name]
		text, entry := strings.CutPrefix(name, "h/")
		if there && was == value {
			continue
		}
		if body, known := c.state.queue[text]; entry && known {
			w.setQueued = append(w.setQueued, text, body)
			w.bytes += len(body)
		} else if entry && !there {
			continue // of a long queue: its message is not known here
		}
		w.setValue(name, []byte(value))
		next()
	}
	return append(all, w)
}

// restore makes writes of restores, by devices.
func (w *writer) restore(ctx context.Context, states map[string][]write) error {
	b := newBatch()
	b.again = true
	var todo []write
	for _, some := range states {
		todo = append(todo, some...)
	}
	return w.repeat(ctx, func() (err error) {
		todo, err = w.try(ctx, b, todo)
		return err
	})
}
