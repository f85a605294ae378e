package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// streamName is the stream of the configuration, which has some of the messages of common.
const streamName = "crash"

var streamFilters = [2]string{common + "+/0", common + "+/1"}

// streamReader is a backend that reads the stream as a consumer, by server-sent events. When it is cut off, it goes on by what it has
// acknowledged, or with remembers by the place of the last event, as EventSource does.
type streamReader struct {
	*fleet
	name      string // of the consumer
	remembers bool

	receiver *receiver
	random   *rand.Rand
	last     string          // the place of the last event
	seen     map[string]bool // places that must not come again: acknowledged, or with remembers all that came
	pending  []string        // places that are not acknowledged
	asked    time.Duration   // when it acknowledged last
}

func (s *streamReader) run(ctx context.Context) {
	s.random, s.seen = s.rand(s.name), make(map[string]bool)
	client := s.gateway.admin()
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		if err := s.gateway.wait(ctx); err != nil {
			return
		}
		life, cancel := context.WithTimeout(ctx, s.life(s.random))
		if s.calm.Load() {
			life, cancel = context.WithCancel(ctx)
		}
		err := s.read(life, client)
		cancel()
		s.book.event(s.name, fmt.Sprintf("reading is over: %v", err))
		s.pause(ctx, 20*time.Millisecond+time.Duration(s.random.Int64N(int64(500*time.Millisecond))))
	}
}

// read reads events until the connection ends.
func (s *streamReader) read(ctx context.Context, client *http.Client) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/v1/streams/"+streamName+"?consumer="+s.name, nil)
	if err != nil {
		return err
	}
	if s.remembers && s.last != "" {
		r.Header.Set("Last-Event-ID", s.last)
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	s.pending = nil
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, maxInbound)
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
			if err := s.acknowledge(ctx, client); err != nil {
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
			s.book.fault(fmt.Sprintf("%s: place %s comes again", s.name, id))
		}
		if s.remembers {
			s.seen[id] = true
		} else {
			s.pending = append(s.pending, id)
		}
		var m struct{ Topic, Text string }
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			s.book.fault(fmt.Sprintf("%s: %v: %.100s", s.name, err, data))
			return
		}
		n, err := numberOf([]byte(m.Text))
		if err != nil {
			s.book.fault(fmt.Sprintf("%s: %.100s, which nobody sent", s.name, data))
			return
		}
		s.book.arrive(s.receiver, m.Topic, n)
	case "missed":
		s.book.fault(fmt.Sprintf("%s at %s: %s", s.name, id, data))
	case "ended":
		s.book.event(s.name, data)
	}
}

// acknowledge acknowledges what came, a few times a second, unless the place of the last event does.
func (s *streamReader) acknowledge(ctx context.Context, client *http.Client) error {
	const every = 200 * time.Millisecond
	if s.remembers || len(s.pending) == 0 || s.book.now()-s.asked < every {
		return nil
	}
	s.asked = s.book.now()
	request := map[string]any{"stream": streamName, "consumer": s.name, "place": s.last}
	status, err := s.gateway.post(ctx, client, "Acknowledge", request, nil)
	if err != nil || status != http.StatusOK {
		s.book.event(s.name, fmt.Sprintf("acknowledge %s: status %d, %v", s.last, status, err))
		return err
	}
	for _, place := range s.pending {
		s.seen[place] = true
	}
	s.pending = s.pending[:0]
	return nil
}
