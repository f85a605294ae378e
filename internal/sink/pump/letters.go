package pump

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/stream"
)

// A dead letter is a message that a sink could not write: the message as it came, on the topic $sink/NAME/dead, with four more properties behind
// its own. The stream dead_letters has them.

const (
	// LettersFilter matches the dead letters of all sinks.
	LettersFilter = "$sink/+/dead"
	// LettersStream is the name of the stream that has them.
	LettersStream = "dead_letters"
)

// LettersTopic returns the topic of a sink's dead letters.
func LettersTopic(sink string) string { return "$sink/" + sink + "/dead" }

// The properties of a dead letter, in their order.
const (
	letterReason = "reason"
	letterStream = "stream"
	letterPlace  = "place"
	letterTopic  = "topic"
)

// longestReason bounds the reason in a dead letter, in bytes.
const longestReason = 1 << 10

// newLetter returns the dead letter of a record.
func newLetter(sink string, it *item, why error) *message.Message {
	m := it.Message
	return &message.Message{
		Topic: LettersTopic(sink), Payload: m.Payload, ContentType: m.ContentType, Source: m.Source, Time: m.Time, QoS: message.AtLeastOnce,
		PayloadFormat: m.PayloadFormat, Request: m.Request, Trace: m.Trace, Origin: message.Origin{Via: message.ViaGateway},
		Properties: append(slices.Clip(m.Properties),
			message.Property{Key: letterReason, Value: reason(why)},
			message.Property{Key: letterStream, Value: it.stream},
			message.Property{Key: letterPlace, Value: strconv.FormatUint(it.Place, 10)},
			message.Property{Key: letterTopic, Value: m.Topic}),
	}
}

// reason returns the text of err, within bounds, as a property may have it.
func reason(err error) string {
	text := err.Error()
	if len(text) > longestReason {
		text = text[:longestReason]
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	return strings.ReplaceAll(text, "\x00", string(utf8.RuneError))
}

// openLetter returns the entry whose dead letter a message is. It is false if the message is not a dead letter of the sink.
func openLetter(sink string, e stream.Entry) (o original, ok bool) {
	m := e.Message
	own := len(m.Properties) - 4
	if m.Topic != LettersTopic(sink) || own < 0 {
		return original{}, false
	}
	p := m.Properties[own:]
	place, err := strconv.ParseUint(p[2].Value, 10, 64)
	if err != nil || p[0].Key != letterReason || p[1].Key != letterStream || p[2].Key != letterPlace || p[3].Key != letterTopic {
		return original{}, false
	}
	back := m.Head()
	back.Topic, back.Payload, back.ContentType, back.Properties = p[3].Value, m.Payload, m.ContentType, slices.Clip(m.Properties[:own])
	back.Request, back.Trace = m.Request, m.Trace
	return original{stream.Entry{Place: place, Time: e.Time, Message: back}, p[1].Value}, true
}

// letter sends a record to the dead letters, and tries until they have it or the pump ends. The record is done then.
func (p *Pump) letter(it *item, why error) { p.tryLetter(it, newLetter(p.sink.Name, it, why), why, 1) }

func (p *Pump) tryLetter(it *item, m *message.Message, why error, attempt int) {
	if p.life.Err() != nil { // the message comes again
		return
	}
	if strings.HasPrefix(it.Message.Topic, "$sink/") { // the dead letter of a dead letter would come for ever
		p.bury(it, false)
		p.tell(slog.LevelError, "the sink cannot write a dead letter: it stays where it is", "topic", it.Message.Topic, "stream", it.stream, "place", it.Place, "reason", why)
		return
	}
	p.sink.Publish(m, func(err error) {
		switch {
		case err == nil:
			p.bury(it, true)
			p.tell(slog.LevelWarn, "the sink could not write a message: it is a dead letter", "topic", it.Message.Topic, "stream", it.stream, "place", it.Place, "reason", why)
		case errors.Is(err, store.ErrTooLarge):
			p.bury(it, false)
			p.tell(slog.LevelError, "the sink could not write a message, and it is too large for the dead letters", "topic", it.Message.Topic, "stream", it.stream,
				"place", it.Place, "reason", why)
		default:
			p.tell(slog.LevelError, "dead letters are refused: the sink tries again", "error", err)
			time.AfterFunc(p.sink.Config.Retry.pause(attempt, rand.Float64()), func() { p.tryLetter(it, m, why, attempt+1) }) //nolint:gosec // spreads attempts
		}
	})
}

// bury notes that a record is done; kept says that the dead letters have it.
func (p *Pump) bury(it *item, kept bool) {
	p.mu.Lock()
	if p.stats.Dead++; !kept {
		p.stats.DeadLost++
	}
	p.flow.buried(it)
	p.notice()
	p.mu.Unlock()
	p.tellDone()
	p.wakeLanes() // an exact target's may send again; when the pump closes, all may be over
}
