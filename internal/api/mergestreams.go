package api

import (
	"cmp"
	"slices"
	"strings"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// mergeStreams joins the parts of each stream. Nodes that do not answer are among the parts.
func mergeStreams(_ *longlinev1.ListStreamsRequest, parts []part[longlinev1.ListStreamsResponse]) *longlinev1.ListStreamsResponse {
	var names []string
	for _, p := range parts {
		for _, s := range p.response.GetStreams() {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	merged := new(longlinev1.ListStreamsResponse)
	for _, name := range slices.Compact(names) {
		joined := join(name)
		for _, p := range parts {
			list := p.response.GetStreams()
			i := slices.IndexFunc(list, func(s *longlinev1.Stream) bool { return s.Name == name })
			switch {
			case i >= 0:
				joined.add(p.node, list[i])
			case p.err != nil:
				joined.lacks(p.node, messageOf(p.err))
			default:
				joined.lacks(p.node, "node "+p.node+": its configuration has no such stream")
			}
		}
		merged.Streams = append(merged.Streams, joined.whole())
	}
	return merged
}

func mergeStream(r *longlinev1.GetStreamRequest, parts []part[longlinev1.GetStreamResponse]) *longlinev1.GetStreamResponse {
	joined := join(r.Stream)
	for _, p := range parts {
		if p.err != nil {
			joined.lacks(p.node, messageOf(p.err))
			continue
		}
		joined.add(p.node, p.response.Stream)
	}
	return &longlinev1.GetStreamResponse{Stream: joined.whole()}
}

// joinedStream is a stream whose parts are joined one after the other.
type joinedStream struct {
	stream      *longlinev1.Stream
	first, last places
	done        map[string]*places // of each consumer
	problems    []string
}

func join(name string) *joinedStream {
	return &joinedStream{
		stream: &longlinev1.Stream{Name: name},
		first:  places{at: make(map[string]uint64)},
		last:   places{at: make(map[string]uint64)},
		done:   make(map[string]*places),
	}
}

// lacks notes that nothing is known of a node's part.
func (j *joinedStream) lacks(node, why string) {
	j.problems = append(j.problems, why)
	j.stream.Parts = append(j.stream.Parts, &longlinev1.StreamPart{Node: node, Error: why})
}

// add adds a node's part.
func (j *joinedStream) add(node string, s *longlinev1.Stream) {
	sum := j.stream
	sum.Filters, sum.MaxAge, sum.WhenFull = s.Filters, s.MaxAge, s.WhenFull
	sum.Messages += s.Messages
	sum.Bytes += s.Bytes
	sum.MaxBytes += s.MaxBytes
	if s.Oldest != nil {
		sum.Oldest = earlier(sum.Oldest, s.Oldest)
	}
	setPart(&j.first, node, s.First)
	setPart(&j.last, node, s.Last)
	if s.Error != "" {
		j.problems = append(j.problems, "node "+node+": "+s.Error)
	}
	for _, c := range s.Consumers {
		j.addConsumer(node, c)
	}
	part := &longlinev1.StreamPart{Node: node, Messages: s.Messages, Bytes: s.Bytes, Oldest: s.Oldest, Error: s.Error}
	sum.Parts = append(sum.Parts, part)
}

// setPart sets a node's place to what the node says; an empty text is none.
func setPart(p *places, node, text string) {
	if n, err := parsePlace("", text); err == nil {
		p.at[node] = n
	}
}

func (j *joinedStream) addConsumer(node string, c *longlinev1.Consumer) {
	i := slices.IndexFunc(j.stream.Consumers, func(s *longlinev1.Consumer) bool { return s.Name == c.Name })
	if i < 0 {
		i = len(j.stream.Consumers)
		j.stream.Consumers = append(j.stream.Consumers, &longlinev1.Consumer{Name: c.Name, Lag: new(longlinev1.Lag)})
		j.done[c.Name] = &places{at: make(map[string]uint64)}
	}
	sum := j.stream.Consumers[i]
	setPart(j.done[c.Name], node, c.Acknowledged)
	sum.Lag.Messages += c.GetLag().GetMessages()
	sum.Lag.Bytes += c.GetLag().GetBytes()
	if age := c.GetLag().GetAge(); sum.Lag.Age == nil || age.AsDuration() > sum.Lag.Age.AsDuration() {
		sum.Lag.Age = age
	}
	sum.Reading = sum.Reading || c.Reading
	sum.Missed += c.Missed
}

// whole returns the stream. There is at least one part.
func (j *joinedStream) whole() *longlinev1.Stream {
	if len(j.first.at) > 0 {
		j.stream.First = j.first.String()
	}
	j.stream.Last = j.last.String()
	j.stream.Error = strings.Join(j.problems, "; ")
	slices.SortFunc(j.stream.Consumers, func(a, b *longlinev1.Consumer) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range j.stream.Consumers {
		c.Acknowledged = j.done[c.Name].String()
	}
	return j.stream
}
