//go:build servers || long

package stores

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/redis"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/test/servers"
)

var now = time.Now()

// pair opens two nodes of a cluster.
func pair(t *testing.T, client rueidis.Client) (a, b *node) {
	t.Helper()
	a = newNode(t, client, store.Options{})
	return a, openNode(t, client, a.options, a.prefix, "other/22", storetest.NewOnJournal(a.options))
}

// begin claims a device and begins a session.
func (n *node) begin(t testing.TB, device string) redis.Claimed {
	t.Helper()
	c, err := claim(n.Store, device)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Found {
		n.Store.Save(&store.Record{Device: device, Session: 1, Expiry: time.Hour})
	}
	return c
}

func (n *node) push(t testing.TB, device string, payloads ...string) {
	t.Helper()
	for _, p := range payloads {
		m := message.Message{Topic: "t", Payload: []byte(p), Time: now.UnixMilli()}
		if err := n.Store.Queue(device).Push(m.Clone(), message.AtLeastOnce, now); err != nil {
			t.Fatal(err)
		}
	}
}

func (n *node) commit() error {
	told := make(chan error, 1)
	n.Store.Commit(func(err error) { told <- err })
	return <-told
}

// has checks what a device's queue has.
func (n *node) has(t *testing.T, device string, want ...string) {
	t.Helper()
	if got := n.queued(t, device); !slices.Equal(got, want) {
		t.Errorf("%s has %q of %s, want %q", n.owner, got, device, want)
	}
}

// queued returns what a device's queue has.
func (n *node) queued(t *testing.T, device string) (got []string) {
	t.Helper()
	q := n.Store.Queue(device)
	for p := q.NextPage(q.Len()); p != nil; p = q.NextPage(q.Len()) {
		if err := n.Read(p); err != nil {
			t.Fatal(err)
		}
		if lost := q.Load(p); lost > 0 {
			t.Errorf("%d messages are lost", lost)
		}
	}
	for m, _, ok := q.Next(now); ok; m, _, ok = q.Next(now) {
		got = append(got, string(m.Payload))
	}
	q.Rewind()
	return got
}

// told returns what was lost and what was sent on.
func (n *node) told() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprintf("lost %s; sent on %s", strings.Join(n.lost, ", "), strings.Join(n.sentOn, ", "))
}

// A device that moves has its state at the new node. The old one changes nothing of it any more, hears of it before a fence passes, and sends on what it
// has for the device.
func TestMove(t *testing.T) {
	a, b := pair(t, clientOf(t, servers.Redis(t).Address()))
	a.begin(t, "d")
	a.push(t, "d", "1", "2")
	a.Store.PutFor("d", store.SpaceCommand, "reboot", []byte("now"))
	if err := a.commit(); err != nil {
		t.Fatal(err)
	}
	c := b.begin(t, "d")
	if c.From != a.owner || !c.Found || len(c.Values) != 1 || c.Values[0].Key != "reboot" {
		t.Errorf("claimed %+v", c)
	}
	b.has(t, "d", "1", "2")
	b.push(t, "d", "3")
	a.push(t, "d", "late")
	a.Store.PutFor("d", store.SpaceCommand, "reboot", nil)
	if err := errors.Join(a.commit(), b.commit()); err != nil {
		t.Fatal(err)
	}
	if got, want := a.told(), "lost d to other/22; sent on late to d at other/22"; got != want {
		t.Errorf("the old owner: %s, want %s", got, want)
	}
	if c = a.begin(t, "d"); c.From != b.owner || len(c.Values) != 1 {
		t.Errorf("claimed back %+v", c)
	}
	a.has(t, "d", "1", "2", "3")
	if again := a.begin(t, "d"); again.From != "" || again.Epoch != c.Epoch {
		t.Errorf("claimed twice: %+v", again)
	}
	if owners, err := a.Owner(t.Context(), []string{"d", "nobody's"}); err != nil || !slices.Equal(owners, []string{a.owner, ""}) {
		t.Errorf("the owners are %q, %v", owners, err)
	}
}

// Two claims of a device that are made at once, by an adopter and for a connection, are one: the second finds that the node has the device.
func TestClaimsInTurn(t *testing.T) {
	a, b := pair(t, clientOf(t, servers.Redis(t).Address()))
	a.begin(t, "d")
	a.push(t, "d", "1")
	if err := a.commit(); err != nil {
		t.Fatal(err)
	}
	claims := make(chan redis.Claimed, 3)
	tell := func(c redis.Claimed, err error) {
		if err != nil {
			t.Error(err)
		}
		claims <- c
	}
	b.Store.Claim("another", tell) // the others wait while it is on its way
	b.Adopt("d", a.owner, tell)
	b.Store.Claim("d", tell)
	_, first, second := <-claims, <-claims, <-claims
	if !first.Found || first.From != a.owner || second.From != "" || second.Epoch != first.Epoch {
		t.Errorf("claimed %+v, then %+v", first, second)
	}
	if got := b.told(); got != "lost ; sent on " {
		t.Errorf("the adopter: %s", got)
	}
	b.has(t, "d", "1")
}

// A claim that ends leaves nothing, unless the device has values. A claim behind it stays.
func TestDisown(t *testing.T) {
	client := clientOf(t, servers.Redis(t).Address())
	a, b := pair(t, client)
	a.begin(t, "d")
	a.push(t, "d", "1")
	a.begin(t, "e")
	a.Store.PutFor("e", store.SpaceCommand, "reboot", []byte("now"))
	for _, device := range []string{"d", "e"} {
		a.Store.Drop(device)
		a.Disown(device)
	}
	if err := a.commit(); err != nil {
		t.Fatal(err)
	}
	keys, err := client.Do(t.Context(), client.B().Keys().Pattern(a.prefix+"{?}:*").Build()).AsStrSlice()
	if err != nil || len(keys) != 1 || !strings.HasSuffix(keys[0], "{e}:s") {
		t.Errorf("left are %q, %v", keys, err)
	}
	if c := b.begin(t, "e"); c.Found || len(c.Values) != 1 {
		t.Errorf("claimed %+v", c)
	}
	a.Store.Forget("e")
	for range 100 {
		a.begin(t, "d")
		a.push(t, "d", "1")
		a.Store.Drop("d")
		a.Disown("d")
	}
	a.begin(t, "d")
	a.push(t, "d", "2")
	if err := a.commit(); err != nil || len(a.sentOn) > 0 {
		t.Errorf("%v, %s", err, a.told())
	}
	a.has(t, "d", "2")
	servers.Until(t, "the set of the node's devices is not what it has", func() bool {
		all, err := client.Do(t.Context(), client.B().Smembers().Key(redis.DevicesKey(a.prefix, a.owner)).Build()).AsStrSlice()
		return err == nil && slices.Equal(all, []string{"d"})
	})
}

// Only what the dead owner still has is adopted.
func TestAdopt(t *testing.T) {
	a, b := pair(t, clientOf(t, servers.Redis(t).Address()))
	a.begin(t, "d")
	b.begin(t, "e")
	adopt := func(n *node, device, dead string) (c redis.Claimed, err error) {
		told := make(chan struct{})
		n.Adopt(device, dead, func(x redis.Claimed, why error) { c, err = x, why; close(told) })
		<-told
		return c, err
	}
	if err := a.commit(); err != nil {
		t.Fatal(err)
	}
	if c, err := adopt(b, "d", a.owner); err != nil || c.From != a.owner || !c.Found {
		t.Errorf("%+v, %v", c, err)
	}
	for _, device := range []string{"e", "nobody's"} {
		if c, err := adopt(a, device, "dead/1"); !errors.Is(err, redis.ErrNotOwner) {
			t.Errorf("%s: %+v, %v", device, c, err)
		}
	}
	if c, err := adopt(a, "nobody's", ""); err != nil || c.From != "" || c.Found {
		t.Errorf("%+v, %v", c, err)
	}
}

// A claim names the owners before the one before: what is left in their inboxes when they die may be for the device. A device that ends is forgotten all the same.
func TestOwnersBefore(t *testing.T) {
	client := clientOf(t, servers.Redis(t).Address())
	a, b := pair(t, client)
	third := openNode(t, client, a.options, a.prefix, "third/33", storetest.NewOnJournal(a.options))
	a.begin(t, "d")
	if err := a.commit(); err != nil {
		t.Fatal(err)
	}
	if c := b.begin(t, "d"); c.From != a.owner || len(c.Before) != 0 {
		t.Errorf("the second owner: %+v", c)
	}
	if c := third.begin(t, "d"); c.From != b.owner || !slices.Equal(c.Before, []string{a.owner}) {
		t.Errorf("the third owner: %+v", c)
	}
	third.Store.Drop("d")
	third.Store.Disown("d")
	if err := third.commit(); err != nil {
		t.Fatal(err)
	}
	servers.Until(t, "Redis keeps a device without a session", func() bool {
		n, err := client.Do(t.Context(), client.B().Exists().Key(a.prefix+"{d}:s").Build()).AsInt64()
		return err == nil && n == 0
	})
}

// Redis is restarted without what it has answered last: claims and writes are made again, and nothing is lost.
func TestForgottenAnswers(t *testing.T) {
	server := servers.Redis(t)
	client := clientOf(t, server.Address())
	a, b := pair(t, client)
	a.begin(t, "moved")
	a.begin(t, "stays")
	a.begin(t, "ends")
	a.push(t, "stays", "1", "2")
	if err := a.commit(); err != nil {
		t.Fatal(err)
	}
	forget, err := servers.RedisMark(server.Process)
	if err != nil {
		t.Fatal(err)
	}
	a.Store.PutFor("moved", store.SpaceCommand, "reboot", []byte("now"))
	if err := a.commit(); err != nil {
		t.Fatal(err)
	}
	b.begin(t, "moved")
	b.push(t, "moved", "3")
	b.begin(t, "new")
	b.push(t, "new", "4")
	if m, _, ok := a.Store.Queue("stays").Next(now); !ok || !a.Store.Queue("stays").Ack(m.ID) {
		t.Fatal("nothing to acknowledge")
	}
	a.push(t, "stays", "5")
	a.Store.Drop("ends")
	a.Disown("ends")
	if err := errors.Join(a.commit(), b.commit()); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if err := forget(); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	b.push(t, "moved", "6")
	a.push(t, "stays", "7") // perhaps before anybody has seen that Redis was restarted
	servers.Until(t, "redis takes nothing", func() bool { return errors.Join(a.commit(), b.commit()) == nil })
	queued := func(device string) int64 {
		n, err := client.Do(t.Context(), client.B().Hlen().Key(a.prefix+"{"+device+"}:q").Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	servers.Until(t, "what was lost is not written again", func() bool {
		owners, err := a.Owner(t.Context(), []string{"moved", "new", "stays", "ends"})
		return err == nil && slices.Equal(owners, []string{b.owner, b.owner, a.owner, ""}) &&
			queued("moved") == 2 && queued("new") == 1 && queued("stays") == 3
	})
	if got := b.told(); got != "lost ; sent on " || len(a.sentOn) > 0 || slices.Contains(a.lost, "stays to ") {
		t.Errorf("%s; the other %s", got, a.told())
	}
	third := openNode(t, client, a.options, a.prefix, "third/333", storetest.NewOnJournal(a.options))
	if c := third.begin(t, "moved"); len(c.Values) != 1 || c.Values[0].Key != "reboot" {
		t.Errorf("what the owner before wrote last is %+v", c.Values)
	}
	third.has(t, "moved", "3", "6")
	third.begin(t, "new")
	third.has(t, "new", "4")
	third.begin(t, "stays")
	third.has(t, "stays", "2", "5", "7")
}

// While Redis is away fences are refused after the patience; nothing is forgotten.
func TestAway(t *testing.T) {
	server := servers.Redis(t)
	client := clientOf(t, server.Address())
	a, b := pair(t, client)
	a.begin(t, "d")
	a.push(t, "d", "1")
	if err := a.commit(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	a.push(t, "d", "2")
	if err := a.commit(); err == nil || a.Err() == nil {
		t.Error("a fence passes without Redis")
	}
	if _, err := claim(a.Store, "e"); err == nil {
		t.Error("a claim is made without Redis")
	}
	server.Restart()
	servers.Until(t, "redis takes nothing", func() bool { return a.commit() == nil })
	if err := a.Err(); err != nil {
		t.Error(err)
	}
	b.begin(t, "d")
	b.has(t, "d", "1", "2")
}

// Keys of one device that hold something else concern that device alone.
func TestSpoilt(t *testing.T) {
	server := servers.Redis(t)
	a, _ := pair(t, clientOf(t, server.Address()))
	a.begin(t, "d")
	a.begin(t, "e")
	if err := a.commit(); err != nil {
		t.Fatal(err)
	}
	servers.RedisCLI(t, server, "set", a.prefix+"{d}:q", "no hash")
	a.push(t, "d", "1")
	a.push(t, "e", "2")
	if err := a.commit(); err != nil {
		t.Error(err)
	}
	if got, want := a.told(), "lost d to ; sent on 1 to d at "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, err := claim(a.Store, "d"); err == nil {
		t.Error("it is claimed")
	}
	a.has(t, "e", "2")
}
