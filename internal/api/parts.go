package api

import (
	"context"
	"crypto/rand"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/stream"
)

const (
	// leastPart is what a reader gets of one node at least, in bytes; mostPart is the most that fits into an answer with what is around it.
	leastPart = 16 << 10
	mostPart  = 256 << 10
)

// source is what a consumption reads. One goroutine uses it.
type source interface {
	// take waits for entries of one node and returns them, valid until the next call, and how many are gone before them. It may return none of
	// both if away has changed.
	take(ctx context.Context, messages, bytes int) (batch []stream.Entry, missed uint64, err error)
	// placeOf returns the text of the place of an entry of the last batch, or of the one before it.
	placeOf(entry uint64) string
	// at returns the place behind which the next call goes on.
	at() string
	// behind returns how many entries there are behind that.
	behind() uint64
	// caughtUp reports whether all was taken that was there when reading began.
	caughtUp() bool
	// away returns the nodes that cannot be read.
	away() []string
	close()
}

// ownPart is the stream of a node that is alone.
type ownPart struct {
	stream *stream.Stream
	reader *stream.Reader
	end    uint64         // when reading began
	room   []stream.Entry // what the reader returned last
}

func (p *ownPart) take(ctx context.Context, messages, bytes int) (batch []stream.Entry, missed uint64, err error) {
	if batch, missed, err = p.reader.Take(ctx, messages, bytes, p.room); err == nil {
		p.room = batch
	}
	return batch, missed, err
}

func (p *ownPart) placeOf(entry uint64) string { return place(entry) }
func (p *ownPart) at() string                  { return place(p.reader.Place() - 1) }
func (p *ownPart) caughtUp() bool              { return p.reader.Place() >= p.end }
func (p *ownPart) away() []string              { return nil }
func (p *ownPart) close()                      { p.reader.Close() }

func (p *ownPart) behind() uint64 {
	at := p.reader.Place()
	return max(p.stream.End(), at) - at
}

// allParts are the parts of all nodes.
type allParts struct {
	*gather[readAnswer]

	// Static after construction.
	api     *API
	request readRequest // without what is of one node
	latest  bool        // begins with what comes
	began   time.Time

	places        places
	parts         map[string]*partState
	before, after string // around the place of the part that the last batch is of
}

// partState is what is known of a node's part.
type partState struct {
	end    uint64 // when reading began
	behind uint64
}

// openParts opens a reader of all parts. It returns when all nodes have answered or have not in time.
func (a *API) openParts(ctx context.Context, name, consumer string, from places, latest bool) (*allParts, error) {
	p := &allParts{
		api: a, request: readRequest{reader: rand.Text(), stream: name, consumer: consumer, begins: true, messages: a.config.Batch.Messages},
		latest: latest, began: time.Now(), places: from, parts: make(map[string]*partState),
	}
	p.gather = newGather(ctx, a.node.Cluster, p.read)
	err := p.begin(ctx, p.taken)
	if err == nil && len(p.parts) == 0 {
		err = connect.NewError(connect.CodeUnavailable, errNoPart)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// read returns what reads a node's part.
func (p *allParts) read(node string) nodeReader[readAnswer] {
	r := p.request
	r.start = p.places.begin(node)
	if p.latest && len(p.parts) == 0 {
		r.start = begin{kind: beginLatest}
	}
	return func(ctx context.Context, tell func(readAnswer, error) bool) {
		defer p.leave(ctx, node, r)
		for {
			share := readersBytes / int(p.api.readers.Load()+1) / max(1, len(p.cluster.Nodes()))
			r.bytes = min(mostPart, p.api.config.Batch.Bytes, max(leastPart, share))
			answer, err := p.api.readNode(ctx, node, &r)
			if !tell(answer, err) {
				return
			}
			switch {
			case err == nil:
				r.begins, r.after = false, answer.place
			case r.start.kind == beginLatest: // later that would be without what has come meanwhile
				r.start = begin{kind: beginAt, at: p.began}
			}
		}
	}
}

// leave closes the reader at a node.
func (p *allParts) leave(ctx context.Context, node string, r readRequest) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nodeRetry)
	defer cancel()
	r.closes = true
	_, _ = p.api.readNode(ctx, node, &r) // otherwise the node closes it after heldFor
}

// taken notes what a node answered.
func (p *allParts) taken(a gathered[readAnswer]) {
	s := p.parts[a.node]
	if s == nil {
		s = &partState{end: a.answer.end}
		p.parts[a.node] = s
	}
	p.before, p.after = p.places.around(a.node)
	p.places.at[a.node] = a.answer.place
	s.behind = max(a.answer.end, a.answer.place+1) - a.answer.place - 1
}

func (p *allParts) take(ctx context.Context, _, _ int) (batch []stream.Entry, missed uint64, err error) {
	for {
		a, changed, err := p.next(ctx)
		if err != nil {
			return nil, 0, err
		}
		if a.node != "" {
			p.taken(a)
		}
		if changed || len(a.answer.entries) > 0 || a.answer.missed > 0 {
			return a.answer.entries, a.answer.missed, nil
		}
	}
}

func (p *allParts) placeOf(entry uint64) string { return p.before + place(entry) + p.after }
func (p *allParts) at() string                  { return p.places.String() }

func (p *allParts) behind() (n uint64) {
	for _, s := range p.parts {
		n += s.behind
	}
	return n
}

func (p *allParts) caughtUp() bool {
	for node, s := range p.parts {
		if !p.isAway(node) && p.places.at[node]+1 < s.end {
			return false
		}
	}
	return true
}
