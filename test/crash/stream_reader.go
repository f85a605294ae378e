package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/longline/longline/test/account"
	"github.com/longline/longline/test/clients"
)

// streamName is the stream of the configuration, which has some of the messages of clients.Common.
const streamName = "crash"

var streamFilters = [2]string{clients.Common + "+/0", clients.Common + "+/1"}

// streamReader is a backend that reads the stream as a consumer, by server-sent events. When it is cut off, it goes on by what it has
// acknowledged, or with remembers by the place of the last event, as EventSource does.
type streamReader struct {
	*clients.Fleet
	name      string // of the consumer
	remembers bool

	receiver *account.Receiver
	random   *rand.Rand
	last     string          // the place of the last event
	seen     map[string]bool // places that must not come again: acknowledged, or with remembers all that came
	pending  []string        // places that are not acknowledged
	asked    time.Duration   // when it acknowledged last
}

// readStream starts two readers, which end with ctx.
func readStream(ctx context.Context, f *clients.Fleet, all *sync.WaitGroup) {
	for i, name := range []string{"by-place", "by-event"} {
		s := &streamReader{Fleet: f, name: name, remembers: i == 1, receiver: f.Book.Receiver(name, 1)}
		for _, filter := range streamFilters {
			about := f.Book.Subscribing(s.receiver, filter)
			f.Book.Note(&about.From)
		}
		all.Go(func() { s.run(ctx) })
	}
}

func (s *streamReader) run(ctx context.Context) {
	s.random, s.seen = s.Rand(s.name), make(map[string]bool)
	api := clients.NewAPI(s.Gateways, s.name)
	for ctx.Err() == nil {
		if err := s.Gateways.Wait(ctx); err != nil {
			return
		}
		life, cancel := context.WithTimeout(ctx, s.Life(s.random))
		if s.Calm.Load() {
			life, cancel = context.WithCancel(ctx)
		}
		err := s.read(life, api)
		cancel()
		s.Book.Event(s.name, fmt.Sprintf("reading is over: %v", err))
		s.Pause(ctx, 20*time.Millisecond+time.Duration(s.random.Int64N(int64(500*time.Millisecond))))
	}
}

// read reads events until the connection ends.
func (s *streamReader) read(ctx context.Context, api *clients.API) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/v1/streams/"+streamName+"?consumer="+s.name, nil)
	if err != nil {
		return err
	}
	if s.remembers && s.last != "" {
		r.Header.Set("Last-Event-ID", s.last)
	}
	answer, err := api.HTTP.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	s.pending = nil
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, clients.MaxInbound)
	var id, kind, data string
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			data = value
		case "":
			if data == "" {
				continue
			}
			s.take(id, kind, data)
			id, kind, data = "", "", ""
			if err := s.acknowledge(ctx, api); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// take handles an event.
func (s *streamReader) take(id, kind, data string) {
	switch kind {
	case "message":
		if s.last = id; s.seen[id] {
			s.Book.Fault(fmt.Sprintf("%s: place %s comes again", s.name, id))
		}
		if s.remembers {
			s.seen[id] = true
		} else {
			s.pending = append(s.pending, id)
		}
		var m struct{ Topic, Text string }
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			s.Book.Fault(fmt.Sprintf("%s: %v: %.100s", s.name, err, data))
			return
		}
		n, err := clients.NumberOf([]byte(m.Text))
		if err != nil {
			s.Book.Fault(fmt.Sprintf("%s: %.100s, which nobody sent", s.name, data))
			return
		}
		s.Book.Arrive(s.receiver, m.Topic, n)
	case "missed":
		s.Book.Fault(fmt.Sprintf("%s at %s: %s", s.name, id, data))
	case "ended":
		s.Book.Event(s.name, data)
	}
}

// acknowledge acknowledges what came, a few times a second, unless the place of the last event does.
func (s *streamReader) acknowledge(ctx context.Context, api *clients.API) error {
	const every = 200 * time.Millisecond
	if s.remembers || len(s.pending) == 0 || s.Book.Now()-s.asked < every {
		return nil
	}
	s.asked = s.Book.Now()
	request := map[string]any{"stream": streamName, "consumer": s.name, "place": s.last}
	status, err := api.Post(ctx, "Acknowledge", request, nil)
	if err != nil || status != http.StatusOK {
		s.Book.Event(s.name, fmt.Sprintf("acknowledge %s: status %d, %v", s.last, status, err))
		return err
	}
	for _, place := range s.pending {
		s.seen[place] = true
	}
	s.pending = s.pending[:0]
	return nil
}
