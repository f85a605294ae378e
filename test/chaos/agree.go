package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/test/clients"
)

// prefix is that of the keys of the cluster.
const prefix = "ll:chaos:"

// agree compares what the nodes, Redis and the devices say at the end. They may need some time to agree.
func (r *run) agree(ctx context.Context) error {
	retained, err := r.retained(ctx)
	if err != nil {
		return err
	}
	r.agreed = fmt.Sprintf("at the end %d retained messages are the same at all nodes", retained)
	if r.engine == nil {
		return nil
	}
	client, err := r.engine.client()
	if err != nil {
		return err
	}
	defer client.Close()
	const patience = 30 * time.Second
	for end := r.book.Now() + patience; ; {
		wrong, text, err := r.disagreements(ctx, client)
		if err == nil && len(wrong) == 0 {
			r.agreed += "; " + text
			return nil
		}
		if r.book.Now() > end || !sleep(ctx, time.Second) {
			const shown = 20
			for _, w := range wrong[:min(len(wrong), shown)] {
				r.book.Fault("they do not agree: " + w)
			}
			if len(wrong) > shown {
				r.book.Fault(fmt.Sprintf("they do not agree in %d more things", len(wrong)-shown))
			}
			return err
		}
	}
}

// retained compares what is retained with what was acknowledged, at each node.
func (r *run) retained(ctx context.Context) (count int, err error) {
	for _, n := range r.cluster.nodes {
		kept, err := clients.ReadRetained(ctx, n.gateway)
		if err != nil {
			return 0, fmt.Errorf("retained messages at %s: %w", n.name, err)
		}
		r.book.JudgeRetained(r.verdict, kept)
		if count = len(kept); r.kept != nil && !maps.Equal(r.kept, kept) {
			r.book.Fault(fmt.Sprintf("%s has %d retained messages, which are not the %d of another node", n.name, len(kept), len(r.kept)))
		}
		r.kept = kept
	}
	return count, nil
}

// disagreements returns what Redis says otherwise than the devices know.
func (r *run) disagreements(ctx context.Context, client rueidis.Client) (wrong []string, text string, err error) {
	owners, err := r.owners(ctx, client)
	if err != nil {
		return nil, "", err
	}
	lives, err := r.lives(ctx, client)
	if err != nil {
		return nil, "", err
	}
	want := make(map[string]string) // a device by owner NUL filter
	for device, owner := range owners {
		n := r.cluster.nodeOf(device)
		if name, _, _ := strings.Cut(owner, "/"); name != n.name {
			wrong = append(wrong, fmt.Sprintf("%s is at %s, and its owner is %q", device, n.name, owner))
			continue
		}
		if !lives[owner] {
			wrong = append(wrong, fmt.Sprintf("the owner of %s is %q, and the lives are %v", device, owner, slices.Sorted(maps.Keys(lives))))
		}
		for _, filter := range r.book.Subscribed(device) {
			if !strings.HasPrefix(filter, "device/"+device+"/") {
				want[owner+"\x00"+filter] = device
			}
		}
	}
	interest, err := client.Do(ctx, client.B().Hkeys().Key(prefix+"{interest}:all").Build()).AsStrSlice()
	if err != nil {
		return nil, "", fmt.Errorf("interest: %w", err)
	}
	for _, field := range interest {
		owner, filter, _ := strings.Cut(field, "\x00")
		if want[field] != "" {
			delete(want, field)
			continue
		}
		if !strings.HasPrefix(filter, "$share/") {
			wrong = append(wrong, fmt.Sprintf("%s announces %q, and nobody there wants it", owner, filter))
		}
	}
	for field, device := range want {
		_, filter, _ := strings.Cut(field, "\x00")
		has, err := client.Do(ctx, client.B().Hexists().Key(prefix+"{"+device+"}:s").Field("f/"+filter).Build()).AsBool()
		wrong = append(wrong, fmt.Sprintf("%q is not announced, which %s wants; its record has it: %v %v", field, device, has, err))
	}
	slices.Sort(wrong)
	return wrong, fmt.Sprintf("%d devices have their owners, %d filters are announced", len(owners), len(interest)), nil
}

// owners returns the owner of each device.
func (r *run) owners(ctx context.Context, client rueidis.Client) (map[string]string, error) {
	names := r.fleet.Names(r.options.Devices)
	var commands rueidis.Commands
	for _, name := range names {
		commands = append(commands, client.B().Hget().Key(prefix+"{"+name+"}:s").Field("o").Build())
	}
	all := make(map[string]string)
	for i, answer := range client.DoMulti(ctx, commands...) {
		owner, err := answer.ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			return nil, fmt.Errorf("owner of %s: %w", names[i], err)
		}
		all[names[i]] = owner
	}
	return all, nil
}

// lives returns the owners that live.
func (r *run) lives(ctx context.Context, client rueidis.Client) (map[string]bool, error) {
	all, err := client.Do(ctx, client.B().Hgetall().Key(prefix+"{nodes}:life").Build()).AsStrMap()
	if err != nil {
		return nil, fmt.Errorf("nodes: %w", err)
	}
	lives := make(map[string]bool)
	for name, life := range all {
		lives[name+"/"+life] = true
	}
	return lives, nil
}
