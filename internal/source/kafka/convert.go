package kafka

import (
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/source/feed"
)

// Bounds of the headers that become properties.
const (
	mostHeaders     = 64
	mostHeaderBytes = 16 << 10
	contentType     = "content-type"
)

// drop is why a header of a record is left out.
type drop int

const (
	noText drop = iota // a property is text
	noRoom             // beyond mostHeaders or mostHeaderBytes
	reasons
)

var dropNames = [reasons]string{noText: "header_no_text", noRoom: "header_no_room"}

// drops counts the headers that are left out.
type drops [reasons]*bridge.Tally

func newDrops(log *slog.Logger) *drops {
	return &drops{
		noText: bridge.NewTally(log, slog.LevelWarn, "headers were left out, because they are no text"),
		noRoom: bridge.NewTally(log, slog.LevelWarn, fmt.Sprintf("headers were left out: a record has room for %d of %d bytes together", mostHeaders, mostHeaderBytes)),
	}
}

// convert returns the feed's record of a record of Kafka. Headers that are text become properties, as many as there is room for; content-type is the
// content type. The others are counted.
func convert(r *kgo.Record, left *drops) *feed.Record {
	out := &feed.Record{
		ID: fmt.Sprintf("%s/%d@%d", r.Topic, r.Partition, r.Offset), Topic: r.Topic, Key: asText(r.Key), Value: r.Value, Time: r.Timestamp, QoS: message.AtLeastOnce,
	}
	bytes := 0
	for _, h := range r.Headers {
		isType := h.Key == contentType
		bytes += len(h.Key) + len(h.Value)
		switch value := string(h.Value[:min(len(h.Value), mostHeaderBytes)]); {
		case bytes > mostHeaderBytes, len(out.Properties) == mostHeaders && !isType:
			left[noRoom].Add()
		case !isText(h.Key), !isText(value):
			left[noText].Add()
		case isType:
			out.ContentType = value
		default:
			out.Properties = append(out.Properties, message.Property{Key: h.Key, Value: value})
		}
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
