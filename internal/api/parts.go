package api

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/stream"
)

const (
	partWait   = 5 * time.Second // how long a node waits for entries before it answers that there are none
	partRetry  = time.Second     // between two requests to a node that does not answer
	partFollow = time.Second     // how often a reader looks for nodes that are new
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

// allParts are the parts of all nodes. A goroutine per node reads its part and gives what it gets to whoever calls take, one answer at a time.
type allParts struct {
	// Static after construction.
	api      *API
	stream   string
	consumer string
	name     string // of the reader at the nodes
	began    time.Time
	ctx      context.Context
	cancel   context.CancelFunc
	got      chan partAnswer
	open     chan struct{} // closed when every node has given its first answer, or none

	// Owned by the caller of take.
	places        places
	parts         map[string]*partState
	before, after string // around the place of the part that the last batch is of
	tick          *time.Ticker
}

// partState is what is known of a node's part.
type partState struct {
	cancel context.CancelFunc
	begun  bool
	end    uint64 // when reading began; 0 if the node did not answer then
	behind uint64
	away   bool
}

// partAnswer is what a node answered.
type partAnswer struct {
	node string
	readAnswer
	err error
}

// openParts opens a reader of all parts. It returns when all nodes have answered or have not in time.
func (a *API) openParts(ctx context.Context, name, consumer string, from places, latest bool) (*allParts, error) {
	p := &allParts{
		api: a, stream: name, consumer: consumer, name: rand.Text(), began: time.Now(), got: make(chan partAnswer), open: make(chan struct{}),
		places: from, parts: make(map[string]*partState), tick: time.NewTicker(partFollow),
	}
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.follow(latest)
	for waiting := len(p.parts); waiting > 0; waiting-- {
		select {
		case answer := <-p.got:
			if _, err := p.note(answer); err != nil {
				p.close()
				return nil, err
			}
		case <-ctx.Done():
			p.close()
			return nil, coded(ctx.Err())
		}
	}
	close(p.open)
	for _, s := range p.parts {
		if s.begun {
			return p, nil
		}
	}
	p.close()
	return nil, connect.NewError(connect.CodeUnavailable, errNoPart)
}

// follow begins to read the parts of nodes that are new, and ends those of nodes that are gone.
func (p *allParts) follow(latest bool) {
	nodes := p.api.node.Cluster.Nodes()
	for _, n := range nodes {
		if p.parts[n.Name] == nil {
			ctx, cancel := context.WithCancel(p.ctx)
			p.parts[n.Name] = &partState{cancel: cancel}
			start := p.places.begin(n.Name)
			if latest && start.kind == beginAt {
				start = begin{kind: beginLatest}
			}
			go p.read(ctx, n.Name, start)
		}
	}
	for name, s := range p.parts {
		if !slices.ContainsFunc(nodes, func(n devices.Node) bool { return n.Name == name }) {
			s.cancel()
			delete(p.parts, name)
		}
	}
}

// read reads a node's part until ctx ends.
func (p *allParts) read(ctx context.Context, node string, start begin) {
	r := readRequest{reader: p.name, stream: p.stream, consumer: p.consumer, start: start, begins: true}
	defer p.leave(ctx, node, r)
	for ctx.Err() == nil {
		r.bytes = min(mostPart, p.api.config.Batch.Bytes, max(leastPart, readersBytes/int(p.api.readers.Load()+1)/len(p.api.node.Cluster.Nodes())))
		r.messages = p.api.config.Batch.Messages
		answer, err := p.api.readNode(ctx, node, &r)
		select {
		case p.got <- partAnswer{node, answer, err}:
		case <-ctx.Done():
			return
		}
		select {
		case <-p.open:
		case <-ctx.Done():
			return
		}
		if err == nil {
			r.begins, r.after = false, answer.place
			continue
		}
		if r.start.kind == beginLatest { // later that would be without what comes meanwhile
			r.start = begin{kind: beginAt, at: p.began}
		}
		select {
		case <-time.After(partRetry):
		case <-ctx.Done():
		}
	}
}

// leave closes the reader at a node.
func (p *allParts) leave(ctx context.Context, node string, r readRequest) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), partRetry)
	defer cancel()
	r.closes = true
	_, _ = p.api.readNode(ctx, node, &r) // otherwise the node closes it after heldFor
}

// note takes what a node answered. It reports whether away has changed. An error ends the reader.
func (p *allParts) note(a partAnswer) (changed bool, err error) {
	s := p.parts[a.node]
	if s == nil { // the node is gone
		return false, nil
	}
	if a.err != nil {
		switch connect.CodeOf(a.err) {
		case connect.CodeAborted, connect.CodePermissionDenied, connect.CodeInvalidArgument:
			return false, a.err
		}
		changed, s.away = !s.away, true
		return changed, nil
	}
	changed, s.away = s.away, false
	if !s.begun {
		s.begun, s.end = true, a.end
	}
	p.before, p.after = p.places.around(a.node)
	p.places.at[a.node] = a.place
	s.behind = max(a.end, a.place+1) - a.place - 1
	return changed, nil
}

func (p *allParts) take(ctx context.Context, _, _ int) (batch []stream.Entry, missed uint64, err error) {
	for {
		select {
		case answer := <-p.got:
			changed, err := p.note(answer)
			if err != nil || changed || len(answer.entries) > 0 || answer.missed > 0 {
				return answer.entries, answer.missed, err
			}
		case <-p.tick.C:
			p.follow(false)
		case <-ctx.Done():
			return nil, 0, ctx.Err()
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
		if !s.away && p.places.at[node]+1 < s.end {
			return false
		}
	}
	return true
}

func (p *allParts) away() (names []string) {
	for _, node := range slices.Sorted(maps.Keys(p.parts)) {
		if p.parts[node].away {
			names = append(names, node)
		}
	}
	return names
}

// close ends the goroutines, which close their readers at the nodes.
func (p *allParts) close() {
	p.cancel()
	p.tick.Stop()
}
