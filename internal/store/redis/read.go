package redis

import (
	"context"
	"strconv"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// Read implements store.Medium.
func (w *writer) Read(p *store.Page) error {
	s := w.store
	ctx, cancel := context.WithTimeout(context.Background(), s.options.Patience)
	defer cancel()
	if len(p.Retained) > 0 {
		return s.shared.readPage(ctx, p)
	}
	state, queue := s.keys(p.Device)
	numbers := make([]string, len(p.Numbers))
	for i, n := range p.Numbers {
		numbers[i] = strconv.FormatUint(n, 10)
	}
	// The owner comes last: what it has read before is not another's.
	results := s.client.DoMulti(ctx,
		s.client.B().Hmget().Key(queue).Field(numbers...).Build(),
		s.client.B().Hmget().Key(state).Field("e", "o").Build(),
	)
	owner, err := results[1].ToArray()
	if err != nil {
		return err
	}
	if len(owner) != 2 {
		return errAnswer
	}
	epoch, _ := owner[0].ToString() // nil is nobody's
	name, _ := owner[1].ToString()
	if name != s.options.Owner || epoch != strconv.FormatUint(w.held(p.Device), 10) {
		return ErrNotOwner
	}
	bodies, err := results[0].ToArray()
	if err != nil {
		return err
	}
	if len(bodies) != len(p.Numbers) {
		return errAnswer
	}
	p.Messages = make([]*message.Message, len(p.Numbers))
	for i, b := range bodies {
		if b.IsNil() {
			continue
		}
		body, err := b.ToString()
		if err == nil {
			p.Messages[i], err = readMessage(body, s.options.Link)
		}
		if err != nil { // as if Redis had it no more
			w.counts.spoilt.Add(1)
			s.options.Log.Error("a message in redis is spoilt", "device", p.Device, "number", p.Numbers[i], "err", err)
		}
	}
	return nil
}
