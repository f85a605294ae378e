package redis

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/store"
)

// errMissed says that the log does not go on where the reader is.
var errMissed = errors.New("entries of the log of retained messages are missing")

const (
	readWait    = time.Second      // how long Redis may wait for a new entry
	readTimeout = 10 * time.Second // of one answer
)

// read follows the log until ctx ends. What is retained at first is read from the hash, as it is when the reader has missed entries.
func (r *retained) read(ctx context.Context) {
	var is reading
	for ctx.Err() == nil {
		if err := r.step(ctx, &is); err != nil && ctx.Err() == nil {
			r.log.Debug("the log of retained messages cannot be read", "err", err)
			r.link.Look()
			pause(ctx, writePause)
		}
	}
}

// reading is where a reader is.
type reading struct {
	loaded bool
	missed bool   // something, in the log or by a failover
	losses uint64 // of the link, that are mended
}

// step reads as far as it can. After an error it is to be called again.
func (r *retained) step(ctx context.Context, is *reading) error {
	losses := r.link.Losses()
	switch {
	case !is.loaded:
		if err := r.load(ctx); err != nil {
			return err
		}
		*is = reading{loaded: true, losses: losses}
		close(r.ready)
	case is.missed || losses != is.losses:
		err := r.raise(ctx)
		if err == nil {
			err = r.readAll(ctx)
		}
		if errors.Is(err, errMissed) {
			err = r.load(ctx)
		}
		if err != nil {
			return err
		}
		*is = reading{loaded: true, losses: losses}
	default:
		err := r.follow(ctx)
		if errors.Is(err, errMissed) {
			is.missed, err = true, nil
		}
		return err
	}
	return nil
}

// follow reads the entries behind the place where the reader is, and waits for them for a second.
func (r *retained) follow(ctx context.Context) error {
	c, release := r.link.client.Dedicate()
	defer release()
	stop := context.AfterFunc(ctx, c.Close)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	at := strconv.FormatUint(r.at.Load(), 10) + lastOfPlace
	found, err := c.Do(ctx, c.B().Xread().Count(readAtOnce).Block(readWait.Milliseconds()).Streams().Key(r.keys[logKey]).Id(at).Build()).AsXRead()
	if rueidis.IsRedisNil(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for i := range found[r.keys[logKey]] {
		x := &found[r.keys[logKey]][i]
		id, before := readPlace(x)
		if before != r.at.Load() {
			return errMissed
		}
		r.apply(x)
		r.at.Store(id)
	}
	return nil
}

// lastOfPlace ends the highest ID that a place could have; those that are written end on -0.
const lastOfPlace = "-18446744073709551615"

// apply applies an entry of the log to memory. One that is spoilt is counted and skipped.
func (r *retained) apply(x *rueidis.XRangeEntry) {
	e, err := readEntry(x)
	if err == nil && e.topic == "" {
		return
	}
	var c store.Change
	if err == nil {
		c, err = e.change(r.origin, r.link)
	}
	if err != nil {
		r.spoilt.Add(1)
		r.log.Error("an entry of the log of retained messages is spoilt", "err", err)
		return
	}
	r.memory.ApplyChange(c)
	r.recent.add(e, e.bytes())
}

// raise has the log reach to where the reader was, so that what is written from now on is behind. It returns errMissed if there is no log any more.
func (r *retained) raise(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	at := r.at.Load()
	last, err := raiseScript.Exec(ctx, r.link.client, r.keys[logKey:logKey+1], []string{strconv.FormatUint(at, 10)}).AsUint64()
	if err == nil && last == 0 && at > 0 {
		err = errMissed
	}
	return err
}

// readAll applies the whole log again: after a failover it may have other entries than those that were read. It returns errMissed if the log
// does not reach back to where the reader was.
func (r *retained) readAll(ctx context.Context) error {
	c := r.link.client
	known, from, first := r.at.Load(), "-", true // entries without a gap from known or before on
	for {
		page, err := r.page(ctx, c.B().Xrange().Key(r.keys[logKey]).Start(from).End("+").Count(readAtOnce).Build())
		if err != nil {
			return err
		}
		for i := range page {
			x := &page[i]
			id, before := readPlace(x)
			if first && before > known {
				return errMissed
			}
			first = false
			r.apply(x)
			r.at.Store(id)
		}
		if len(page) < readAtOnce {
			return nil
		}
		from = "(" + page[len(page)-1].ID
	}
}

func (r *retained) page(ctx context.Context, command rueidis.Completed) ([]rueidis.XRangeEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return r.link.client.Do(ctx, command).AsXRange()
}

// load makes memory what the hash is, as of the end of the log.
func (r *retained) load(ctx context.Context) error {
	c := r.link.client
	last, err := r.page(ctx, c.B().Xrevrange().Key(r.keys[logKey]).End("+").Start("-").Count(1).Build())
	if err != nil {
		return err
	}
	var at uint64
	if len(last) > 0 {
		at, _ = readPlace(&last[0])
	}
	losses := r.link.Losses()
	r.memory.SettleAll(at)
	cursor, err := r.scan(ctx, 0)
	begun := cursor != 0
	for err == nil && cursor != 0 {
		cursor, err = r.scan(ctx, cursor)
	}
	if err != nil {
		return err
	}
	if err := r.sweep(ctx, at); err != nil {
		return err
	}
	// Another server may have gone on with the scan, which then has missed something.
	for end := time.Now(); begun && r.link.Sure().Before(end); {
		r.link.Look()
		if !pause(ctx, lookPause/2) {
			return ctx.Err()
		}
	}
	if r.link.Losses() != losses {
		return errors.New("redis was restarted or failed over meanwhile")
	}
	r.at.Store(at)
	return nil
}

// scan applies a part of the hash and returns where the next part begins, 0 at the end.
func (r *retained) scan(ctx context.Context, cursor uint64) (uint64, error) {
	c := r.link.client
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	part, err := c.Do(ctx, c.B().Hscan().Key(r.keys[allKey]).Cursor(cursor).Count(readAtOnce).Build()).AsScanEntry()
	if err != nil {
		return 0, err
	}
	for i := 0; i+1 < len(part.Elements); i += 2 {
		e, err := readKept(part.Elements[i], part.Elements[i+1])
		var change store.Change
		if err == nil {
			change, err = e.change(r.origin, r.link)
		}
		if err != nil {
			r.spoilt.Add(1)
			r.log.Error("a retained message is spoilt", "err", err)
			continue
		}
		r.memory.ApplyChange(change)
	}
	return part.Cursor, nil
}

// sweep removes from memory what the hash does not have any more.
func (r *retained) sweep(ctx context.Context, through uint64) error {
	topics := make([]string, 0, readAtOnce)
	for behind := ""; ; {
		topics, behind = r.memory.RetainedTopics(topics[:0], behind, through)
		if behind == "" {
			return nil
		}
		missing, err := r.missing(ctx, topics)
		if err != nil {
			return err
		}
		for _, topic := range missing {
			r.memory.ApplyChange(store.Change{Topic: topic, Place: through + 1})
		}
	}
}

// missing returns the topics of which the hash has nothing.
func (r *retained) missing(ctx context.Context, topics []string) ([]string, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return missingScript.Exec(ctx, r.link.client, r.keys[:1], topics).AsStrSlice()
}
