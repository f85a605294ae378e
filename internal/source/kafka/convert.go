package kafka

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/source/feed"
)

// Bounds of the headers that become properties.
const (
	mostHeaders     = 64
	mostHeaderBytes = 16 << 10
	contentType     = "content-type"
)

// convert returns the feed's record of a record of Kafka. Headers that are text become properties, as many as there is room for; content-type is the
// content type.
func convert(r *kgo.Record) *feed.Record {
	out := &feed.Record{
		ID: fmt.Sprintf("%s/%d@%d", r.Topic, r.Partition, r.Offset), Topic: r.Topic, Key: asText(r.Key), Value: r.Value, Time: r.Timestamp, QoS: message.AtLeastOnce,
	}
	bytes := 0
	for _, h := range r.Headers {
		value := string(h.Value)
		if !isText(h.Key) || !isText(value) {
			continue
		}
		if h.Key == contentType {
			out.ContentType = value
			continue
		}
		if bytes += len(h.Key) + len(value); bytes > mostHeaderBytes || len(out.Properties) == mostHeaders {
			break
		}
		out.Properties = append(out.Properties, message.Property{Key: h.Key, Value: value})
	}
	return out
}

// isText reports whether s may be in a property.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// asText returns a key as text: one that is no text has replacement characters.
func asText(key []byte) string {
	s := strings.ToValidUTF8(string(key), "\uFFFD")
	return strings.ReplaceAll(s, "\x00", "\uFFFD")
}
