package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/test/account"
	"github.com/longline/longline/test/clients"
	"github.com/longline/longline/test/servers"
)

// sinksConfiguration sends the stream's messages to three systems behind.
const sinksConfiguration = `
sinks:
  kafka: {stream: ` + streamName + `, retry: {most: 2s}, kafka: {brokers: ["%s"], topic: ` + streamName + `}}
  mosquitto: {stream: ` + streamName + `, retry: {most: 2s}, mqtt: {url: "mqtt://%s"}}
  postgres: {stream: ` + streamName + `, retry: {most: 2s}, postgres: {addresses: ["%s"], database: postgres, user: postgres, table: ` + streamName + `,
    columns: {place: "{place}", source: "{source}", topic: "{topic}", payload: "{payload}"}}}
`

// system is a system behind that a sink writes to. It is killed and started again, and what it has is read.
type system struct {
	name     string
	program  servers.Program
	setUp    func(ctx context.Context, s *system) error // once, when it has started first
	read     func(ctx context.Context, s *system)       // notes what arrives, until ctx ends
	cut      func(ctx context.Context)                  // before a kill
	connect  func(ctx context.Context) error            // after a new start
	downtime time.Duration                              // at most, besides its start
	pause    time.Duration                              // between two kills, at most

	book     *account.Book
	process  *servers.Process
	receiver *account.Receiver
	kills    int

	mu     sync.Mutex
	places map[string]uint64 // the latest place of each device that has arrived
	seen   map[uint64]bool   // places that have arrived
}

// sinks are the systems behind.
type sinks struct {
	book   *account.Book
	folder string
	door   *sinktest.Proxy // between the gateway and Mosquitto
	all    []*system
	ends   sync.WaitGroup // of the goroutines that kill
}

// startSinks starts the systems behind in a folder of their own, and returns with them what the gateway's configuration has for them.
func startSinks(ctx context.Context, b *account.Book) (s *sinks, text string, err error) {
	s = &sinks{book: b}
	if s.folder, err = os.MkdirTemp("", "longline-crash-sinks"); err != nil {
		return nil, "", err
	}
	if s.door, err = sinktest.ListenProxy(); err != nil {
		s.close()
		return nil, "", err
	}
	kafka, mosquitto, postgres := newKafka(), newMosquitto(s.door), newPostgres()
	s.all = []*system{kafka, mosquitto, postgres}
	var starting errgroup.Group
	for _, one := range s.all {
		one.book, one.receiver = b, b.Receiver(one.name, 1)
		one.places, one.seen = make(map[string]uint64), make(map[uint64]bool)
		starting.Go(func() error { return one.start(ctx, filepath.Join(s.folder, one.name)) })
	}
	if err := starting.Wait(); err != nil {
		s.close()
		return nil, "", err
	}
	return s, fmt.Sprintf(sinksConfiguration, kafka.process.Address(), s.door.Address(), postgres.process.Address()), nil
}

// close ends the systems. The context of run has ended, if it was called.
func (s *sinks) close() {
	s.ends.Wait()
	if s.door != nil {
		s.door.Close()
	}
	for _, one := range s.all {
		if one.process != nil {
			one.process.Kill()
		}
	}
	_ = os.RemoveAll(s.folder)
}

// run reads what the systems have until ctx ends, and kills them for a while. rest waits until they are not killed any more and all are up.
func (s *sinks) run(ctx context.Context, seed uint64, duration time.Duration, all *sync.WaitGroup) {
	for n, one := range s.all {
		for _, filter := range streamFilters {
			about := s.book.Subscribing(one.receiver, filter)
			s.book.Note(&about.From)
		}
		random := rand.New(rand.NewPCG(seed, uint64(n)+1))
		all.Go(func() { one.read(ctx, one) })
		s.ends.Go(func() {
			if err := one.suffer(ctx, random, duration); err != nil && ctx.Err() == nil {
				s.book.Fault(one.name + ": " + err.Error())
			}
		})
	}
}

// rest waits until all systems are up for good.
func (s *sinks) rest() { s.ends.Wait() }

// String tells how often each was killed, and what it has.
func (s *sinks) String() string {
	var parts []string
	for _, one := range s.all {
		one.mu.Lock()
		parts = append(parts, fmt.Sprintf("%s killed %d times, has %d", one.name, one.kills, len(one.seen)))
		one.mu.Unlock()
	}
	return "sinks: " + strings.Join(parts, "; ")
}

func (s *system) start(ctx context.Context, dir string) (err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if s.process, err = servers.Launch(ctx, s.program, dir); err != nil {
		return err
	}
	return s.setUp(ctx, s)
}

// suffer kills the system again and again, and starts it. It returns when it is up at the end.
func (s *system) suffer(ctx context.Context, random *rand.Rand, duration time.Duration) error {
	between := func(most time.Duration) time.Duration { return most/4 + time.Duration(random.Int64N(int64(3*most/4))) }
	end := s.book.Now() + duration
	if err := s.connect(ctx); err != nil {
		return err
	}
	for {
		wait := between(s.pause)
		if s.book.Now()+wait > end {
			return nil
		}
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
		s.cut(ctx)
		s.book.Event(s.name, "killed")
		s.process.Kill()
		s.kills++
		sleep(ctx, between(s.downtime))
		if err := s.process.Restart(ctx); err != nil {
			return err
		}
		s.book.Event(s.name, "up")
		if err := s.connect(ctx); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// arrived notes that the system has a message. id is NODE/STREAM/PLACE. The messages of a device come in the order of their places, those apart that come
// again.
func (s *system) arrived(id, source, topic string, payload []byte) {
	number, err := clients.NumberOf(payload)
	place, placeErr := strconv.ParseUint(id[strings.LastIndexByte(id, '/')+1:], 10, 64)
	if err = errors.Join(err, placeErr); err != nil {
		s.book.Fault(fmt.Sprintf("%s got %.20q at %q on %s, which nobody sent: %v", s.name, payload, id, topic, err))
		return
	}
	s.book.Arrive(s.receiver, topic, number)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[place] {
		return
	}
	s.seen[place] = true
	if source == "" {
		source = topic
	}
	if last := s.places[source]; place < last {
		s.book.Fault(fmt.Sprintf("%s got place %d of %s behind place %d", s.name, place, source, last))
	}
	s.places[source] = max(place, s.places[source])
}
