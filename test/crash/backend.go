package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// backend publishes by the API, one message at a time, and sends each again until it is answered.
type backend struct {
	*fleet
	topic *topicBook
}

func (b *backend) run(ctx context.Context) {
	random := b.rand("backend")
	client := b.gateway.admin()
	defer client.CloseIdleConnections()
	tick := time.NewTicker(b.pace)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if b.calm.Load() {
			continue
		}
		n := b.book.send(b.topic, false)
		message := map[string]any{"message": map[string]any{
			"topic": b.topic.name, "text": string(payload(n, b.padding(random))), "qos": 1}}
		for {
			status, err := b.gateway.post(ctx, client, "Publish", message, nil)
			if err == nil && status < 500 {
				b.book.answer(b.topic, n, status != http.StatusOK)
				break
			}
			b.book.event("backend", fmt.Sprintf("%d: status %d, %v", n, status, err))
			if ctx.Err() != nil {
				return
			}
			b.pause(ctx, 50*time.Millisecond)
			b.book.again(b.topic, n)
		}
	}
}
