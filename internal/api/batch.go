package api

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/message"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// batch is the response of a subscription. Every send reuses its memory,
// because sending has ended when Send returns. The first response is empty and says that the
// subscription is active.
type batch struct {
	// Static after construction.
	qos  uint32 // of the subscription
	text bool   // show payloads that are UTF-8 as text

	response longlinev1.SubscribeResponse
	slots    []*slot
}

// slot holds the memory for one message.
type slot struct {
	message longlinev1.Message
	ts      timestamppb.Timestamp
}

// fill makes the response from messages; it keeps views of them until the next call.
func (b *batch) fill(messages []*message.Message, missed uint64) {
	for len(b.slots) < len(messages) {
		b.slots = append(b.slots, new(slot))
	}
	list := b.response.Messages[:0]
	for i, m := range messages {
		b.slots[i].put(m, b.qos, b.text)
		list = append(list, &b.slots[i].message)
	}
	b.response.Messages, b.response.Missed = list, missed
}

// put sets every field of the message, whose qos is at most this one.
func (s *slot) put(m *message.Message, qos uint32, text bool) {
	s.ts.Seconds, s.ts.Nanos = m.Time/1000, int32(m.Time%1000)*1e6
	d := &s.message
	d.Topic = m.Topic
	d.Payload, d.Text = content(m.Payload, text)
	d.ContentType = m.ContentType
	d.Qos = min(qos, uint32(m.QoS))
	d.Retain = m.Retain
	d.Expiry = nil
	if m.Expiry != 0 {
		d.Expiry = durationpb.New(time.Duration(m.Expiry-m.Time) * time.Millisecond)
	}
	d.Properties = d.Properties[:0]
	for i := range m.Properties {
		p := &m.Properties[i]
		d.Properties = append(d.Properties, &longlinev1.Property{Key: p.Key, Value: p.Value})
	}
	d.Source = m.Source
	d.Ts = &s.ts
	d.Id = m.ID
}
