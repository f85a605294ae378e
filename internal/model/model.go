// Package model asks models about messages on their way: a server that speaks the Open Inference Protocol gets tensors that are made of the
// fields of messages, and its answers are published, or set into messages that a sink sends. The messages of several devices share a call. A
// message never waits for long, and never gets lost for a model: without an answer it goes on as it is, and says so.
package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/service"
)

// Result is what became of a message at a model.
type Result uint8

// The results. All but OK are in the property that a message without an answer has.
const (
	OK          Result = iota
	Unavailable        // the model has not answered: it is away, too slow, or its circuit breaker is open
	Busy               // too many messages wait for the model
	Refused            // the model says that it cannot, or its answer is not what the configuration says
	Unfit              // the message lacks a field, or has it in another type
	Filling            // the window of the message's device is not full yet
	results
)

var resultNames = [results]string{"ok", "unavailable", "busy", "refused", "unfit", "filling"}

// String returns the name of r in metrics and properties.
func (r Result) String() string { return resultNames[r] }

// The user properties of a message about which a model was asked, and of what a model publishes. That a message has them also when there is an answer
// means that a device cannot pretend that there was none.
const (
	ResultProperty = "longline-model"        // a Result
	ReasonProperty = "longline-model-reason" // for people, without an answer
)

// answer is what a model says about a row.
type answer struct {
	result Result
	reason error // unless result is OK
	names  []string
	values []any // as names
}

// properties returns what a message says about its answer.
func (a *answer) properties() []message.Property {
	p := []message.Property{{Key: ResultProperty, Value: a.result.String()}}
	if a.reason != nil {
		p = append(p, message.Property{Key: ReasonProperty, Value: service.CutReason(a.reason.Error())})
	}
	return p
}

// row is what is asked about one message.
type row struct {
	// Static.
	inputs [][]byte // the elements for each input
	size   int      // of all of them
	until  time.Time
	group  *group

	answer answer // set by settle; read when the group is done
}

// settle says what became of a row, once.
func (r *row) settle(a answer) {
	r.answer = a
	if r.group.open.Add(-1) == 0 {
		close(r.group.done)
	}
}

func settle(rows []*row, result Result, reason error) {
	for _, r := range rows {
		r.settle(answer{result: result, reason: reason})
	}
}

// group are rows that somebody waits for together.
type group struct {
	open atomic.Int64  // rows that are not settled
	done chan struct{} // closed when all are
}

// Model is one model. All methods are safe from any goroutine.
type Model struct {
	// Static after construction.
	name    string
	remote  string // its name at the server
	config  Config
	inputs  inputs
	wanted  []wanted
	per     route.Template // the key of a window
	path    []string       // of the field that gets the answer; nil if answers are published
	service *service.Service
	owns    bool  // the service is the model's own
	feed    *feed // nil unless the model publishes its answers
	breaker *limit.Breaker
	log     *slog.Logger
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	rows  chan *row     // that wait for a call
	turns chan struct{} // has an element for each call under way

	counters counters
	health   health
}

var (
	errTimeout = errors.New("the model has not answered in time")
	errAway    = errors.New("the model cannot be reached, or has failed")
	errAnswer  = errors.New("the answer of the model cannot be used")
	errBusy    = errors.New("too many messages wait for the model")
	errClosed  = errors.New("the model is closed")
	errOpen    = errors.New("the model has not answered again and again, and is not asked for a while")
)

func open(name string, c Config, o Options) (*Model, error) {
	m := &Model{
		name: name, remote: cmp.Or(c.Model, name), config: c, log: o.Log.With("model", name),
		rows: make(chan *row, c.Batch.Messages), turns: make(chan struct{}, c.InFlight),
		breaker: limit.NewBreaker(name, c.OpenAfter, c.OpenFor, func(err error) bool { return err != nil }),
	}
	if err := m.parse(); err != nil {
		return nil, err
	}
	if err := m.openService(o); err != nil {
		return nil, err
	}
	m.life, m.end = context.WithCancel(context.Background())
	m.running.Go(m.batch)
	if c.Output.Publish != "" {
		if err := m.startFeed(o); err != nil {
			m.close()
			return nil, err
		}
	}
	return m, nil
}

// mostKey bounds the key of a window, in bytes.
const mostKey = 256

// parse parses what the configuration says.
func (m *Model) parse() (err error) {
	c := &m.config
	if m.inputs, err = parseInputs(c); err != nil {
		return err
	}
	for _, text := range c.Output.Tensors {
		w, err := parseWanted(text)
		if err != nil {
			return fmt.Errorf("output.tensors: %w", err)
		}
		m.wanted = append(m.wanted, w)
	}
	if m.per, err = route.ParseTemplate(c.Window.Per); err != nil {
		return fmt.Errorf("window.per: %w", err)
	}
	m.per = m.per.AtMost(mostKey)
	if c.Sets() {
		m.path, err = parsePath(c.Output.Set)
	}
	return err
}

func (m *Model) openService(o Options) (err error) {
	c := &m.config
	if c.Service == "" {
		m.owns = true
		m.service, err = service.Open(m.name, service.Config{
			Source: registry.Source{Instances: c.Instances}, Protocol: service.GRPC, TLS: c.TLS, MaxAnswer: c.MaxAnswer,
			Timeout: c.Timeout, Concurrency: c.InFlight, OpenAfter: 1 << 20, // the model has a breaker of its own
		}, o.Watcher, o.Log)
		return err
	}
	if m.service = o.Services.Get(c.Service); m.service == nil {
		return fmt.Errorf("service: there is no service %s", c.Service)
	}
	return nil
}

// close ends the model. Rows without an answer get none.
func (m *Model) close() {
	m.end()
	m.running.Wait()
	if m.owns {
		m.service.Close()
	}
}
