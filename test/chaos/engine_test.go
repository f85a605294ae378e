//go:build servers

package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/test/account"
)

// A Redis that loses its last second has what was written before, and not what was written in it; one that loses nothing has all.
func TestRedisFaults(t *testing.T) {
	for _, c := range []struct {
		engine string
		kind   kind
		loses  bool
	}{{single, killRedis, false}, {single, loseRedis, true}, {sharded, loseRedis, true}, {sentinel, loseOver, true}} {
		t.Run(fmt.Sprintf("%s, %v", c.engine, c.kind), func(t *testing.T) {
			e, err := startEngine(t.Context(), c.engine, t.TempDir(), []string{"gw-1"})
			if err != nil {
				t.Fatal(err)
			}
			defer e.close()
			client, err := e.client()
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			keys := []string{"{a}", "{b}", "{c}", "{d}", "{e}", "{f}"}
			write := func(value string) {
				for _, key := range keys {
					do(t, client, client.B().Set().Key(key).Value(value).Build())
				}
			}
			write("before")
			p := &player{cluster: &cluster{book: account.NewBook()}, engine: e}
			written := make(chan struct{})
			go func() {
				defer close(written)
				time.Sleep(lostTime / 2)
				write("last")
			}()
			f := fault{kind: c.kind}
			if c.kind == loseOver {
				err = p.failOver(t.Context(), f)
			} else {
				if c.kind == killRedis {
					<-written
				}
				err = p.redis(t.Context(), f)
			}
			if err != nil {
				t.Fatal(err)
			}
			<-written
			lost := 0
			for _, key := range keys {
				if do(t, client, client.B().Get().Key(key).Build()) != "last" {
					lost++
				}
			}
			if (lost > 0) != c.loses {
				t.Errorf("%d of %d values lost", lost, len(keys))
			}
		})
	}
}

// do repeats a command until it is answered.
func do(t *testing.T, client rueidis.Client, command rueidis.Completed) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for command = command.Pin(); ; {
		text, err := client.Do(ctx, command).ToString()
		if err == nil {
			return text
		}
		if !sleep(ctx, 50*time.Millisecond) {
			t.Error(err)
			return ""
		}
	}
}
