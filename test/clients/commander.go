package clients

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// commander is a backend that gives commands to devices, and cancels some. It repeats each request, with the same key, until it is answered.
type commander struct {
	*Fleet
	devices []string
	orders  *Orders
}

// Orders is what the commander and the devices know of the commands. Safe from any goroutine.
type Orders struct {
	mu  sync.Mutex
	all []*order
}

// order is one command; its number is its index in Orders.all.
type order struct {
	device    string
	id        uint64 // 0 while the creation is not answered
	refused   bool
	cancelled bool // it was asked to be cancelled
	done      int  // how often the device has done it
	shown     int  // how often the device has got it
}

// add notes a command that is to be created, and returns its number.
func (o *Orders) add(device string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, &order{device: device})
	return len(o.all) - 1
}

func (o *Orders) change(number int, f func(*order)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(o.all[number])
}

// refuses reports whether devices answer a command with an error.
func refuses(number int) bool { return number%5 == 4 }

// working is how long a device works on a command: most take no time.
func working(number int) time.Duration {
	return max(0, time.Duration(number%16-8)) * 100 * time.Millisecond
}

// answerTo is a device's answer to a command.
func answerTo(number int) string { return fmt.Sprintf("did %d", number) }

func (c *commander) run(ctx context.Context) {
	random := c.Rand("commander")
	api := NewAPI(c.Gateways, "commander")
	var cancels sync.WaitGroup
	defer cancels.Wait()
	tick := time.NewTicker(2 * c.BackendPace)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if c.Calm.Load() || c.Steady.Load() {
			continue
		}
		device := c.devices[random.IntN(len(c.devices))]
		n := c.Orders.add(device)
		ttl := fmt.Sprintf("%.1fs", c.Patience.Seconds())
		if random.IntN(4) == 0 {
			ttl = fmt.Sprintf("%.1fs", 0.2+random.Float64())
		}
		id := c.create(ctx, api, n, device, ttl, random.IntN(8) == 0)
		if after := time.Duration(random.Int64N(int64(2 * time.Second))); id != 0 && random.IntN(8) == 0 {
			cancels.Go(func() { c.cancel(ctx, api, n, id, after) })
		}
	}
}

// create creates a command, and returns its id, 0 if it was refused.
func (c *commander) create(ctx context.Context, api *API, number int, device, ttl string, exclusive bool) (id uint64) {
	request := map[string]any{"device": device, "method": "do", "text": strconv.Itoa(number) + " x", "ttl": ttl,
		"idempotency_key": fmt.Sprintf("%d-%d", c.Seed, number), "exclusive": exclusive}
	var answer struct {
		Command struct {
			ID uint64 `json:",string"`
		}
	}
	if !c.untilAnswered(ctx, api, "CreateCommand", request, &answer) {
		c.Orders.change(number, func(o *order) { o.refused = true })
		return 0
	}
	c.Orders.change(number, func(o *order) { o.id = answer.Command.ID })
	return answer.Command.ID
}

func (c *commander) cancel(ctx context.Context, api *API, number int, id uint64, after time.Duration) {
	c.Pause(ctx, after)
	c.Orders.change(number, func(o *order) { o.cancelled = true })
	c.untilAnswered(ctx, api, "CancelCommand", map[string]any{"id": id}, nil)
}

// untilAnswered repeats a request until the gateway does what it asks for, or refuses it.
func (c *commander) untilAnswered(ctx context.Context, api *API, method string, request map[string]any, answer any) (done bool) {
	for ctx.Err() == nil {
		status, err := api.Post(ctx, method, request, answer)
		switch {
		case err == nil && status == http.StatusOK:
			return true
		case err == nil && status < 500:
			c.Book.Event("commander", fmt.Sprintf("%s %v: status %d", method, request, status))
			return false
		}
		c.Pause(ctx, 50*time.Millisecond)
	}
	return false
}

// getCommand is a device's side of a command: it does it, unless it has answered it before, and reports whether it refuses it. answered has
// the numbers that the device has answered, by id.
func (f *Fleet) getCommand(device string, id uint64, payload []byte, answered map[uint64]int) (number int, refused bool, err error) {
	number, err = NumberOf(payload)
	if err != nil || number >= f.Orders.len() {
		return 0, false, fmt.Errorf("%s got the command %d with %.20q, which nobody gave", device, id, payload)
	}
	_, again := answered[id]
	answered[id] = number
	f.Orders.change(number, func(o *order) {
		if o.device != device || o.id != 0 && o.id != id {
			err = fmt.Errorf("%s got the command %d with the number %d, which is %d of %s", device, id, number, o.id, o.device)
		}
		if o.shown++; !again {
			o.done++
		}
	})
	return number, refuses(number), err
}

func (o *Orders) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all)
}

// Judgement is what the states of commands say.
type Judgement struct {
	Created int
	States  map[string]int
	Again   int      // commands that a device got more than once
	Wrong   []string // what is not true
}

func (j *Judgement) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "commands %d", j.Created)
	for _, s := range slices.Sorted(maps.Keys(j.States)) {
		fmt.Fprintf(&text, ", %s %d", s, j.States[s])
	}
	fmt.Fprintf(&text, ", sent again %d, not true %d", j.Again, len(j.Wrong))
	return text.String()
}

// state is what the gateway says of a command.
type state struct {
	State  string
	Answer *struct {
		Text  string
		Error *struct{ Reason string }
	}
}

// Judge asks for the states of all commands, and compares them with what the devices did.
func (o *Orders) Judge(ctx context.Context, g Gateways) (*Judgement, error) {
	api := NewAPI(g, "judge")
	o.mu.Lock()
	defer o.mu.Unlock()
	j := &Judgement{States: make(map[string]int)}
	for n, c := range o.all {
		if c.id == 0 {
			continue
		}
		j.Created++
		if c.shown > 1 {
			j.Again++
		}
		var answer struct{ Command state }
		status, err := api.Post(ctx, "GetCommand", map[string]any{"id": c.id}, &answer)
		if err != nil {
			return nil, err
		}
		s := answer.Command
		s.State = strings.ToLower(strings.TrimPrefix(s.State, "COMMAND_STATE_"))
		if status != http.StatusOK {
			s.State = "lost"
		}
		j.States[s.State]++
		if why := c.contradicts(n, &s); why != "" {
			j.Wrong = append(j.Wrong, fmt.Sprintf("command %d (%d) to %s is %s, but %s", c.id, n, c.device, s.State, why))
		}
	}
	return j, nil
}

// contradicts returns why a state is not what the device saw, or nothing.
func (c *order) contradicts(number int, s *state) string {
	switch {
	case c.done > 1:
		return "the device did it more than once"
	case s.State == "lost":
		return "its creation was acknowledged"
	case s.State == "queued" || s.State == "sent":
		return "its time is over"
	case s.State == "succeeded" && (c.done == 0 || refuses(number) || s.Answer == nil || s.Answer.Text != answerTo(number)):
		return fmt.Sprintf("the device did it %d times and answered otherwise than %+v", c.done, s.Answer)
	case s.State == "failed" && (c.done == 0 || !refuses(number) || s.Answer == nil || s.Answer.Error == nil):
		return fmt.Sprintf("the device got it %d times and answered otherwise than %+v", c.done, s.Answer)
	case (s.State == "expired" || s.State == "cancelled") && c.shown > 0:
		return "the device got it"
	case s.State == "cancelled" && !c.cancelled:
		return "nobody asked for that"
	}
	return ""
}
