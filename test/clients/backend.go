package clients

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/longline/longline/test/account"
)

// backend publishes by the API, one message at a time, and sends each again until it is answered.
type backend struct {
	*Fleet
	topic *account.Topic
}

func (b *backend) run(ctx context.Context) {
	random := b.Rand("backend")
	api := NewAPI(b.Gateways, "backend")
	defer api.Close()
	tick := time.NewTicker(b.Pace)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if b.Calm.Load() {
			continue
		}
		n := b.Book.Send(b.topic, false)
		message := map[string]any{"message": map[string]any{
			"topic": b.topic.Name, "text": string(payload(n, b.padding(random))), "qos": 1}}
		for {
			status, err := api.Post(ctx, "Publish", message, nil)
			if err == nil && status < 500 {
				b.Book.Answer(b.topic, n, status != http.StatusOK)
				break
			}
			b.Book.Event("backend", fmt.Sprintf("%d: status %d, %v", n, status, err))
			if ctx.Err() != nil {
				return
			}
			b.Pause(ctx, 50*time.Millisecond)
			b.Book.Again(b.topic, n)
		}
	}
}
