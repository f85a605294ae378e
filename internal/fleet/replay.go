package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/longline/longline/internal/reactor"
)

// Replay is a recording and how to play it. Each distinct id becomes a device with its own connection,
// each row a QoS 1 publication on device/{id}/telemetry, or a frame.
type Replay struct {
	// Files are CSV with a line of column names, or JSON lines, whose members are the columns.
	// They may be gzipped; "-" means In. Their rows are merged by time.
	Files      []string
	In         io.Reader
	IDColumn   string // name of the column with the device id; or else
	ID         string // id of the one device that all rows belong to; or else
	FileIsID   bool   // the id is the file's name without extensions
	TimeColumn string // name of the column with the time of the row
	DateColumn string // name of a column with the date, which comes before the time; may be empty
	// FrameColumn is the name of a column whose values are frames of the Config's Protocol. They are sent
	// unchanged, instead of the rows. Empty means none.
	FrameColumn string
	Comment     string // lines that begin with this character are skipped; empty means none
	// TimeFormat is rfc3339, datetime ("2006-01-02 15:04:05", UTC), unix, unix-ms, unix-us, or a
	// layout of Go's time package. If it is empty, the first row decides.
	TimeFormat string
	// Delimiter is one character, or "tab". If it is empty, the first line decides.
	Delimiter string
	// DecimalComma reads 12,5 as the number 12.5.
	DecimalComma bool
	// Speed is a multiple of real time; 0 means as fast as rows are acknowledged.
	Speed float64
	// LookAhead bounds the rows that are read and not settled; 0 means 4,096.
	LookAhead int
}

func (r *Replay) validate() error {
	switch {
	case len(r.Files) == 0:
		return nil
	case r.TimeColumn == "":
		return errors.New("a replay needs the name of the time column")
	case r.ways() != 1:
		return errors.New("a replay needs the device of each row: give one of id column, id, or the file's name (--id-column, --id, --id-from-file)")
	case r.FileIsID && slices.Contains(r.Files, "-"):
		return errors.New("standard input has no name to take as the device id")
	case len(r.Files)-len(slices.Compact(slices.Sorted(slices.Values(r.Files)))) > 0:
		return errors.New("a file is named twice: its rows would be sent twice")
	case utf8.RuneCountInString(r.Comment) > 1:
		return fmt.Errorf("comment %q: want one character", r.Comment)
	case r.IDColumn == r.TimeColumn:
		return fmt.Errorf("column %q cannot be both the device id and the time", r.IDColumn)
	case r.FrameColumn != "" && slices.Contains([]string{r.IDColumn, r.TimeColumn, r.DateColumn}, r.FrameColumn):
		return fmt.Errorf("column %q cannot be both the frame and something else", r.FrameColumn)
	case !(r.Speed >= 0) || math.IsInf(r.Speed, 1): // also refuses NaN
		return fmt.Errorf("speed %v: want a positive number, or max", r.Speed)
	case r.LookAhead < 0:
		return fmt.Errorf("look-ahead of %d rows: want a positive number", r.LookAhead)
	}
	if _, err := parseDelimiter(r.Delimiter); err != nil {
		return err
	}
	return checkTimeFormat(r.TimeFormat)
}

// ways returns how many of the three ways to find the device of a row are given.
func (r *Replay) ways() (n int) {
	for _, given := range []bool{r.IDColumn != "", r.ID != "", r.FileIsID} {
		if given {
			n++
		}
	}
	return n
}

// oneID returns the id of the device that all rows of a file belong to, or "" if there is an id column.
func (r *Replay) oneID(file string) string {
	if r.FileIsID {
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		return name
	}
	return r.ID
}

// batch holds rows for a lane.
type batch struct {
	lane *lane
	rows []row
}

type row struct {
	client  *Client
	payload []byte
}

// Run implements reactor.Task.
func (b *batch) Run(*reactor.Loop) {
	for _, r := range b.rows {
		r.client.enqueue(publication{payload: r.payload})
	}
}

// player gives the rows of a recording to the lanes. It posts a batch when it is full, and all batches
// before it waits.
type player struct {
	fleet   *Fleet
	batches []*batch // by lane
}

const maxBatch = 256 // rows

// replay plays the recording and waits until each row is settled.
func (f *Fleet) replay(ctx context.Context, rec *recording) error {
	if err := f.awaitTried(ctx); err != nil {
		return err
	}
	pass, err := rec.open()
	if err != nil {
		return err
	}
	defer pass.close()
	p := &player{fleet: f, batches: make([]*batch, len(f.lanes))}
	if err = p.play(ctx, rec, pass); err == nil {
		err = f.awaitSettled(ctx)
	} else {
		p.flush()
		f.drain()
	}
	return err
}

// play reads the rows, each at its time.
func (p *player) play(ctx context.Context, rec *recording, pass *pass) error {
	begin := time.Now()
	for {
		rows, err := pass.next()
		if errors.Is(err, io.EOF) {
			p.flush()
			return nil
		}
		if err != nil {
			return err
		}
		if speed := p.fleet.config.Replay.Speed; speed > 0 {
			due := time.Duration(float64(rows.at.Sub(rec.first)) / speed)
			if err := p.wait(ctx, due-time.Since(begin)); err != nil {
				return err
			}
		}
		number, known := rec.numbers[rows.id]
		if !known {
			return fmt.Errorf("%s has changed since it was checked: device %q is new", rows.name, rows.id)
		}
		if err := p.add(ctx, number, rows.payload()); err != nil {
			return err
		}
	}
}

// wait waits until a row is due. A row is due at once if its time is not after the time of the row
// before.
func (p *player) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	p.flush()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.fleet.dead:
		return p.fleet.gaveUp()
	}
}

// add waits for room in the look-ahead and adds a row to the batch of its device's lane.
func (p *player) add(ctx context.Context, number uint32, payload []byte) error {
	select {
	case p.fleet.slots <- struct{}{}:
	default:
		p.flush()
		if err := p.fleet.takeSlot(ctx); err != nil {
			return err
		}
	}
	lanes := p.fleet.lanes
	i := number % uint32(len(lanes))
	b := p.batches[i]
	if b == nil {
		b = &batch{lane: lanes[i]}
		p.batches[i] = b
	}
	b.rows = append(b.rows, row{&b.lane.clients[number/uint32(len(lanes))], payload})
	if len(b.rows) == maxBatch {
		p.post(int(i))
	}
	return nil
}

func (p *player) flush() {
	for i, b := range p.batches {
		if b != nil {
			p.post(i)
		}
	}
}

func (p *player) post(i int) {
	b := p.batches[i]
	p.batches[i] = nil
	b.lane.loop.Post(b)
}

// takeSlot waits for room in the look-ahead.
func (f *Fleet) takeSlot(ctx context.Context) error {
	select {
	case f.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.dead:
		return f.gaveUp()
	}
}

// awaitSettled waits until every row is settled: it takes all slots.
func (f *Fleet) awaitSettled(ctx context.Context) error {
	for range cap(f.slots) {
		if err := f.takeSlot(ctx); err != nil {
			return err
		}
	}
	return nil
}
