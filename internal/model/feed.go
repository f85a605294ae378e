package model

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// feed asks a model about messages that devices publish, and publishes the answers. Two goroutines: one takes messages and asks, the other waits
// for the answers and publishes them, in the order of the messages.
type feed struct {
	// Static after construction.
	model  *Model
	router *router.Router
	inbox  *router.Inbox
	route  *route.Route
	topic  route.Template
	within string // the filter that all topics match
	asked  chan *publication

	// Owned by the goroutine that asks.
	step *Step
	node uint16
}

// publication are messages whose answers will be published.
type publication struct {
	*asked
	about  []*message.Message
	topics []string
}

const (
	chunk      = 256 // messages that are asked about together
	chunkBytes = 256 << 10
	askedAhead = 4 // publications that wait for their answers
)

func (m *Model) startFeed(o Options) error {
	c := &m.config
	t, err := route.ParseTemplate(c.Output.Publish)
	if err != nil {
		return fmt.Errorf("output.publish: %w", err)
	}
	f := &feed{
		model: m, router: o.Router, topic: t, within: pattern(c.Output.Publish), asked: make(chan *publication, askedAhead), node: o.Node,
	}
	if f.route, err = route.Open(c.route(), route.Options{Watcher: o.Watcher, Log: m.log}); err != nil {
		return err
	}
	f.step = m.NewStep()
	f.inbox = o.Router.OpenInbox(c.Queue, c.Filters, message.AtMostOnce, false)
	m.feed = f
	m.running.Go(f.take)
	m.running.Go(f.publish)
	return nil
}

// take takes messages and asks the model, until the model is closed. It is a goroutine.
func (f *feed) take() {
	defer close(f.asked)
	defer f.step.Close()
	defer f.inbox.Close(nil)
	var all []*message.Message
	for {
		var missed uint64
		var err error
		if all, missed, err = f.inbox.Take(f.model.life, all); err != nil {
			return
		}
		f.model.counters.messages[Busy].Add(missed)
		for left := all; len(left) > 0; {
			n := some(left)
			if !f.ask(left[:n]) {
				return
			}
			left = left[n:]
		}
	}
}

// some returns how many of the messages are asked about together: at least one.
func some(all []*message.Message) (n int) {
	for size := 0; n < len(all) && n < chunk && (n == 0 || size+all[n].Size() <= chunkBytes); n++ {
		size += all[n].Size()
	}
	return n
}

// ask asks the model about messages, and gives the answers to come to publish. It reports whether the model is not closed.
func (f *feed) ask(all []*message.Message) bool {
	var about []*message.Message
	var topics []string
	var views []*route.View
	for _, m := range all {
		v := &route.View{Node: f.node}
		v.Reset(m)
		keep, err := f.route.Apply(v)
		if err == nil && !keep {
			continue
		}
		var topic string
		if err == nil {
			topic, err = f.topicOf(v)
		}
		if err != nil {
			f.model.counters.messages[f.step.unfit(v, err).result].Add(1)
			continue
		}
		about, topics, views = append(about, m), append(topics, topic), append(views, v)
	}
	for len(views) > 0 {
		a := f.step.begin(f.model.life, views)
		n := len(a.answers)
		select {
		case f.asked <- &publication{asked: a, about: about[:n], topics: topics[:n]}:
		case <-f.model.life.Done():
			return false
		}
		about, topics, views = about[n:], topics[n:], views[n:]
	}
	return true
}

// topicOf returns the topic on which the answer about a message is published.
func (f *feed) topicOf(v *route.View) (string, error) {
	name, err := f.topic.Render(v)
	switch {
	case err != nil:
		return "", err
	case !topic.Match(f.within, name): // a device has a slash in a field
		return "", fmt.Errorf("output.publish: the topic %.100q does not match %s", name, f.within)
	}
	return strings.Clone(name), topic.ValidateName(name, limits)
}

// publish publishes the answers, until the model is closed. It is a goroutine.
func (f *feed) publish() {
	for p := range f.asked {
		if f.model.wait(f.model.life, p.asked) != nil {
			return
		}
		for n, m := range p.about {
			a := p.answer(n)
			if a.result == Filling {
				continue
			}
			// What becomes of it, the router counts. Nobody waits for an answer.
			_, _ = f.router.Publish(f.message(m, p.topics[n], a), nil)
		}
	}
}

// message returns what is published about m.
func (f *feed) message(m *message.Message, topic string, a answer) *message.Message {
	payload, err := json.Marshal(a.byName())
	if err != nil {
		payload = []byte("{}") // never: there are only values that JSON has
	}
	return &message.Message{
		Topic:       topic,
		Payload:     payload,
		ContentType: message.JSON,
		Properties:  a.properties(),
		Time:        time.Now().UnixMilli(),
		QoS:         min(m.QoS, message.AtLeastOnce),
		Origin:      message.Origin{Via: message.ViaGateway},
		Trace:       m.Trace,
		Debtor:      m.Debtor,
	}
}
