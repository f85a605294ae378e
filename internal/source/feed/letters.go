package feed

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// LettersFilter matches the dead letters of all sources: records of which nothing could be made. Each is a message with the record's payload, on the topic
// $source/NAME/dead, with three more properties behind the record's own.
const LettersFilter = "$source/+/dead"

// The properties of a dead letter, in their order.
const (
	letterReason = "reason"
	letterRecord = "record"
	letterTopic  = "topic"
)

// longestReason bounds the reason in a dead letter, in bytes.
const longestReason = 1 << 10

// letter makes a record a dead letter, and calls done as Node.Publish does.
func (s *Source) letter(r *Record, why error, done func(error)) {
	s.options.Node.Publish(newLetter(s.options.Name, r, why), func(err error) {
		switch {
		case err == nil:
			s.tell(slog.LevelWarn, "nothing can be made of a record: it is a dead letter", "record", r.ID, "reason", why)
		case errors.Is(err, store.ErrTooLarge):
			s.tell(slog.LevelError, "nothing can be made of a record, and it is too large for the dead letters", "record", r.ID, "reason", why)
			err = nil
		}
		done(err)
	})
}

func newLetter(source string, r *Record, why error) *message.Message {
	return &message.Message{
		Topic: "$source/" + source + "/dead", Payload: r.Value, ContentType: r.ContentType, QoS: message.AtLeastOnce, Time: unixMilli(r.Time),
		Origin: message.Origin{Via: message.ViaGateway},
		Properties: append(slices.Clip(r.Properties),
			message.Property{Key: letterReason, Value: text(why.Error())},
			message.Property{Key: letterRecord, Value: text(r.ID)},
			message.Property{Key: letterTopic, Value: text(r.Topic)}),
	}
}

// text returns s, within bounds, as a property may have it.
func text(s string) string {
	if len(s) > longestReason {
		s = s[:longestReason]
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.ReplaceAll(s, "\x00", string(utf8.RuneError))
}

// size returns the bytes that r counts for.
func (r *Record) size() int {
	const overhead = 512
	n := overhead + len(r.Topic) + len(r.Key) + len(r.Value) + len(r.ID)
	for _, p := range r.Properties {
		n += len(p.Key) + len(p.Value)
	}
	return n
}
