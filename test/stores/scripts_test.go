//go:build servers || long

package stores

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	rules "github.com/longline/longline/internal/cluster/claim"
	"github.com/longline/longline/internal/redisconn"
	"github.com/longline/longline/test/servers"
)

// device is what the rules of internal/cluster/claim say that Redis has of a device.
type device struct {
	fence rules.Fence[string]
	write int // number of the last write
	hash  map[string]string
	queue map[string]string
}

func (d *device) clone() *device {
	c := *d
	c.hash, c.queue = maps.Clone(d.hash), maps.Clone(d.queue)
	return &c
}

// history is a device in Redis and by the rules, and what its owners remember.
type history struct {
	t      *testing.T
	client rueidis.Client
	random *rand.Rand
	state  string
	queue  string
	device device
	had    []*device                      // what it was before, to which a failover may go back
	holds  map[string]rules.Fence[string] // by owner: what it holds
	before map[string]rules.Fence[string] // by owner: what its claim found
}

var owners = []string{"a/1", "b/2", "c/3"}

// TestScriptsFollowTheRules plays random histories of claims, writes and falls to an earlier state, and compares each answer of the scripts
// with that of the rules which the walk of internal/cluster/claim checks.
func TestScriptsFollowTheRules(t *testing.T) {
	client := clientBy(t, redisconn.Config{Addresses: []string{servers.Redis(t).Address()}})
	claimText, writeText := script(t, "claim"), script(t, "write")
	for seed := range uint64(30) {
		h := &history{t: t, client: client, random: rand.New(rand.NewPCG(seed, 0)),
			state: fmt.Sprintf("ll:rules:{%d}:s", seed), queue: fmt.Sprintf("ll:rules:{%d}:q", seed),
			device: device{hash: map[string]string{}, queue: map[string]string{}},
			holds:  map[string]rules.Fence[string]{}, before: map[string]rules.Fence[string]{}}
		for step := range 200 {
			h.had = append(h.had, h.device.clone())
			n := h.random.IntN(len(owners))
			var what string
			switch h.random.IntN(10) {
			case 0, 1:
				what = h.claim(claimText, n, "*")
			case 2:
				what = h.claim(claimText, n, owners[h.random.IntN(len(owners))])
			case 3:
				what = h.reclaim(claimText, n)
			case 4:
				if h.random.IntN(4) == 0 {
					what = h.fallBack()
				}
			default:
				what = h.write(writeText, n)
			}
			h.compare(fmt.Sprintf("seed %d, step %d, %s", seed, step, what))
		}
	}
}

func script(t *testing.T, name string) string {
	text, err := os.ReadFile("../../internal/store/redis/" + name + ".lua")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (h *history) eval(text string, args ...string) []string {
	h.t.Helper()
	answer := h.client.Do(context.Background(), h.client.B().Eval().Script(text).Numkeys(2).Key(h.state, h.queue).Arg(args...).Build())
	list, err := answer.ToArray()
	if err != nil {
		h.t.Fatal(err)
	}
	if len(list) == 1 { // of the one device that is written
		if n, err := list[0].AsInt64(); err == nil {
			return []string{strconv.FormatInt(n, 10)}
		}
		if list, err = list[0].ToArray(); err != nil {
			h.t.Fatal(err)
		}
	}
	var texts []string
	for _, m := range list {
		if text, err := m.ToString(); err == nil {
			texts = append(texts, text)
		}
	}
	return texts
}

// claimed compares the answer to a claim with the rules'.
func (h *history) claimed(answer []string, o string, number int, after rules.Fence[string], ok bool) {
	h.t.Helper()
	was := h.device.fence
	switch {
	case !ok:
		if len(answer) != 2 || answer[0] != fmt.Sprint(was.Epoch) || answer[1] != was.Owner {
			h.t.Fatalf("%s claims: %q, the rules refuse it: %v", o, answer, was)
		}
		return
	case after == was:
		if len(answer) != 0 {
			h.t.Fatalf("%s claims: %q, by the rules it has the device already", o, answer)
		}
	default:
		if len(answer) != 3 || answer[1] != fmt.Sprint(was.Epoch) || answer[2] != was.Owner {
			h.t.Fatalf("%s claims: %q, before it was %v", o, answer, was)
		}
		epoch, err := strconv.ParseUint(answer[0], 10, 64)
		if err != nil || epoch != rules.Next(was.Epoch, epoch-rules.Numbers+1, number) || epoch <= was.Epoch || epoch%rules.Numbers != uint64(number) {
			h.t.Fatalf("%s claims: epoch %s after %d: %v", o, answer[0], was.Epoch, err)
		}
		after.Epoch = epoch
		h.device.write = 0
		if was.Owner != "" && was.Owner != o {
			before := append([]string{was.Owner}, strings.Fields(h.device.hash["c"])...)
			h.device.hash["c"] = strings.Join(before[:min(len(before), 8)], " ")
		}
	}
	h.before[o], h.device.fence, h.holds[o] = was, after, after
}

func (h *history) claim(text string, n int, old string) string {
	o := owners[n]
	held := h.holds[o].Epoch
	var after rules.Fence[string]
	ok := true
	if old == "*" {
		after, _ = h.device.fence.Claim(o, held, 1)
	} else if h.device.fence == h.holds[o] && held != 0 {
		after = h.device.fence
	} else {
		after, ok = h.device.fence.ClaimFrom(o, old, 1)
	}
	h.claimed(h.eval(text, o, fmt.Sprint(n), old, "", text0(held)), o, n, after, ok)
	return o + " claims from " + old
}

func (h *history) reclaim(text string, n int) string {
	o := owners[n]
	if h.holds[o].Epoch == 0 {
		return "nothing"
	}
	before := h.before[o]
	after, ok := h.device.fence.Reclaim(h.holds[o], before, 1)
	h.claimed(h.eval(text, o, fmt.Sprint(n), before.Owner, fmt.Sprint(before.Epoch), text0(h.holds[o].Epoch)), o, n, after, ok)
	return o + " claims again"
}

func text0(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// write has an owner change the device by what it holds, be it the owner or not.
func (h *history) write(text string, n int) string {
	o, d := owners[n], &h.device
	held := h.holds[o]
	number := d.write + h.random.IntN(4) - 1
	what := []string{"", "", "", "", "drop", "release", "drop end", "end"}[h.random.IntN(8)]
	field := func() string { return []string{"r", "f/a", "f/b", "h/1", "h/2", "i/7", "v/1/x"}[h.random.IntN(7)] }
	remove, unqueue := field(), fmt.Sprint(h.random.IntN(3))
	queued, value := fmt.Sprint(h.random.IntN(3)), fmt.Sprint(h.random.IntN(1000))
	set := field()
	values := []string{fmt.Sprint(held.Epoch), what, "1", "1", "2", remove, unqueue, queued, value, "w", fmt.Sprint(number), set, value}
	answer := h.eval(text, append([]string{o, fmt.Sprint(number), fmt.Sprint(len(values))}, values...)...)
	name := fmt.Sprintf("%s writes %d %q", o, number, what)
	if !d.fence.Allows(o, held.Epoch) || d.fence.Owner == "" {
		if len(answer) != 2 || answer[0] != fmt.Sprint(d.fence.Epoch) || answer[1] != d.fence.Owner {
			h.t.Fatalf("%s: %q, but it may not: %v", name, answer, d.fence)
		}
		return name
	}
	want := "0"
	if number >= d.write {
		if strings.Contains(what, "drop") {
			clear(d.queue)
		}
		for f := range d.hash {
			dropped := strings.Contains(what, "drop") && (f == "r" || strings.HasPrefix(f, "f/") || strings.HasPrefix(f, "h/"))
			if dropped || what != "" && what != "end" && strings.HasPrefix(f, "i/") {
				delete(d.hash, f)
			}
		}
		delete(d.hash, remove)
		delete(d.queue, unqueue)
		d.queue[queued], d.hash[set], d.write = value, value, number
	}
	if len(answer) != 1 || answer[0] != want {
		h.t.Fatalf("%s: %q, want %q", name, answer, want)
	}
	return name
}

// fallBack makes Redis forget what was written last.
func (h *history) fallBack() string {
	back := min(len(h.had), 1+h.random.IntN(8))
	h.device = *h.had[len(h.had)-back].clone()
	ctx, b := context.Background(), h.client.B
	if err := h.client.Do(ctx, b().Del().Key(h.state, h.queue).Build()).Error(); err != nil {
		h.t.Fatal(err)
	}
	fields := b().Hset().Key(h.state).FieldValue()
	if h.device.fence.Epoch != 0 {
		fields = fields.FieldValue("e", fmt.Sprint(h.device.fence.Epoch)).FieldValue("o", h.device.fence.Owner).FieldValue("w", fmt.Sprint(h.device.write))
	} else if len(h.device.hash) == 0 {
		return "a fall to nothing"
	}
	for f, v := range h.device.hash {
		fields = fields.FieldValue(f, v)
	}
	if err := h.client.Do(ctx, fields.Build()).Error(); err != nil {
		h.t.Fatal(err)
	}
	if len(h.device.queue) > 0 {
		fields := b().Hset().Key(h.queue).FieldValue()
		for f, v := range h.device.queue {
			fields = fields.FieldValue(f, v)
		}
		if err := h.client.Do(ctx, fields.Build()).Error(); err != nil {
			h.t.Fatal(err)
		}
	}
	return fmt.Sprintf("a fall of %d steps", back)
}

// compare compares all that Redis has with the rules'.
func (h *history) compare(what string) {
	h.t.Helper()
	ctx, b := context.Background(), h.client.B
	state, err := h.client.Do(ctx, b().Hgetall().Key(h.state).Build()).AsStrMap()
	if err != nil {
		h.t.Fatal(err)
	}
	queue, err := h.client.Do(ctx, b().Hgetall().Key(h.queue).Build()).AsStrMap()
	if err != nil {
		h.t.Fatal(err)
	}
	want := maps.Clone(h.device.hash)
	if f := h.device.fence; f.Epoch != 0 {
		want["e"], want["o"], want["w"] = fmt.Sprint(f.Epoch), f.Owner, fmt.Sprint(h.device.write)
	}
	if !maps.Equal(state, want) || !maps.Equal(queue, h.device.queue) {
		h.t.Fatalf("%s:\nredis has %v\n and queue %v,\nthe rules %v\n and queue %v", what, state, queue, want, h.device.queue)
	}
}
