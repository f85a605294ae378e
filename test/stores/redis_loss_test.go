//go:build servers || long

package stores

import (
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/redisconn"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/test/servers"
)

// The contract holds through TLS, for a user who may do what docs/cluster.md says.
func TestRedisTLSAndUsers(t *testing.T) {
	certificate, key := filepath.Join(t.TempDir(), "certificate.pem"), filepath.Join(t.TempDir(), "key.pem")
	if _, err := bench.WriteCertificate(certificate, key); err != nil {
		t.Fatal(err)
	}
	server := servers.Redis(t, "--appendfsync", "no", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate,
		"--tls-auth-clients", "no", "--user", "default", "off",
		"--user", "longline", "on", ">sesame", "~ll:*", "+@read", "+@write", "+@scripting", "+@connection", "+info", "+time", "+cluster")
	runContract(t, redisconn.Config{
		Addresses: []string{servers.RedisTLS(server)}, TLS: redisconn.TLS{Enabled: true, TLS: setting.TLS{CA: certificate}},
		Username: "longline", Password: setting.NewSecret("sesame"),
	})
}

// A primary fails while two nodes write, and its replica has not got what came last. All that was told safe is there.
func TestSentinelFailsOverUnderWrites(t *testing.T) {
	s := servers.RedisSentinel(t)
	client := clientBy(t, redisconn.Config{Addresses: s.Addresses(), Sentinel: redisconn.Sentinel{Primary: servers.SentinelName}})
	a, b := pair(t, client)
	const devices = 5
	stop := make(chan struct{})
	var wg sync.WaitGroup
	safe := make(map[string]int) // how many messages of a device were told safe, guarded by mu
	var mu sync.Mutex
	for _, n := range []*node{a, b} {
		for i := range devices {
			device := fmt.Sprint(n.owner[:1], i)
			n.begin(t, device)
			wg.Go(func() { // one line of messages, each told safe before the next
				for round := 1; ; round++ {
					select {
					case <-stop:
						return
					default:
					}
					payload := fmt.Sprint(round)
					m := message.Message{Topic: "t", Payload: []byte(payload), Time: now.UnixMilli()}
					if err := n.Store.Queue(device).Push(m.Clone(), message.AtLeastOnce, now); err != nil {
						return // it is full
					}
					kept := message.Message{Topic: "last/" + device, Payload: []byte(payload)}
					if err := n.Retain(kept.Clone(), now); err != nil {
						t.Error(err)
					}
					if err := n.commit(); err == nil {
						mu.Lock()
						safe[device] = round
						mu.Unlock()
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
	}
	progress := func() int {
		mu.Lock()
		defer mu.Unlock()
		least := -1
		for i := range devices {
			for _, n := range []*node{a, b} {
				if r := safe[fmt.Sprint(n.owner[:1], i)]; least < 0 || r < least {
					least = r
				}
			}
		}
		return least
	}
	reach := func(rounds int) {
		t.Helper()
		servers.Until(t, "nothing is told safe", func() bool { return progress() >= rounds })
	}
	reach(5)
	if err := s.Part(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := progress()
	reach(before + 5)
	if err := s.FailOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	reach(progress() + 5)
	close(stop)
	wg.Wait()
	for _, n := range []*node{a, b} {
		servers.Until(t, "nothing is safe any more", func() bool { return n.commit() == nil })
		if got := n.told(); got != "lost ; sent on " {
			t.Errorf("%s: %s", n.owner, got)
		}
	}
	third := openNode(t, client, a.options, a.prefix, "third/333", storetest.NewOnJournal(a.options))
	for device, rounds := range safe {
		third.begin(t, device)
		queued := third.queued(t, device)
		for round := range rounds {
			if len(queued) <= round || queued[round] != fmt.Sprint(round+1) {
				t.Errorf("%s: the queue has %q, and %d were told safe", device, queued, rounds)
				break
			}
		}
		servers.Until(t, "what is retained is older than what was told safe", func() bool {
			found, _ := third.Retained(&store.Walk{Filter: "last/" + device}, make([]store.Kept, 0, 1), 10, now)
			if len(found) == 0 {
				return false
			}
			n, err := strconv.Atoi(string(found[0].Payload))
			return err == nil && n >= rounds
		})
	}
}
