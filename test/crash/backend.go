package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
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
		text := string(payload(n, b.padding(random)))
		for {
			status, err := b.publish(ctx, client, text)
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

// publish returns the status of a Publish.
func (b *backend) publish(ctx context.Context, client *http.Client, text string) (int, error) {
	if err := b.gateway.wait(ctx); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	body, err := json.Marshal(map[string]any{"message": map[string]any{"topic": b.topic.name, "text": text, "qos": 1}})
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/longline.v1.Gateway/Publish", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}
