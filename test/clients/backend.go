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
	name   string
	topics []*account.Topic
}

func (b *backend) run(ctx context.Context) {
	random := b.Rand(b.name)
	api := NewAPI(b.Gateways, b.name)
	tick := time.NewTicker(b.BackendPace)
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
		topic := b.topics[random.IntN(len(b.topics))]
		n := b.Book.Send(topic, false)
		message := map[string]any{"message": map[string]any{
			"topic": topic.Name, "text": string(payload(n, b.padding(random))), "qos": 1}}
		for {
			status, err := api.Post(ctx, "Publish", message, nil)
			if err == nil && status < 500 {
				b.Book.Answer(topic, n, status != http.StatusOK)
				break
			}
			b.Book.Event(b.name, fmt.Sprintf("%d: status %d, %v", n, status, err))
			if ctx.Err() != nil {
				return
			}
			b.Pause(ctx, 50*time.Millisecond)
			b.Book.Again(topic, n)
		}
	}
}
