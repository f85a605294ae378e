package session

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// What the node owes is bounded whoever it is owed to, publishers are told, and all of it is given back.
func TestQuota(t *testing.T) {
	w, account := newAccountedWorld(t, store.Limits{Count: 3})
	owed := func() int64 { n, _ := account.Bytes(); return n }

	away := w.connect("away", Options{})
	away.sub(1, 1, "a")
	away.leave("")
	full := w.connect("full", Options{})
	full.sub(1, 1, "f")
	inbox := w.router.OpenInbox(router.InboxConfig{}, []string{"b"}, 1, false)
	for range 4 {
		w.publish("a", "x", 1)
		w.publish("f", "x", 1)
		w.publish("b", "x", 1)
	}
	w.retain("r", "x")
	before := owed()
	if before == 0 {
		t.Fatal("nothing is owed")
	}
	account.SetLimit(before)
	c := w.connect("up", Options{})
	c.pub(1, "a", "x", 1)
	c.pub(2, "nobody", "x", 1)
	c.saw("hello resumed=false missed=0", "ack 1 quota", "ack 2") // who has no receiver asks for nothing
	expect(t, "drops", w.drops()["quota"], 1)
	expect(t, "owed", owed(), before)

	for full.step() {
	}
	for range 4 {
		full.ack(0)
		for full.step() {
		}
	}
	if owed() >= before {
		t.Error("acknowledgements give nothing back")
	}
	c.pub(3, "a", "x", 1)
	c.saw("ack 3")
	if _, _, err := inbox.Take(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	inbox.Close(nil)
	account.SetLimit(0)
	w.retain("r", "")
	zero := time.Duration(0)
	w.connect("away", Options{Clean: true, Expiry: &zero}).leave("")
	w.connect("full", Options{Clean: true, Expiry: &zero}).leave("")
	expect(t, "owed at the end", owed(), 0)
}

// A will that waits to be published is owed, though its session is gone.
func TestWaitingWillIsOwed(t *testing.T) {
	w, account := newAccountedWorld(t, store.Limits{})
	zero, a, last := time.Duration(0), &w.manager.presence, will(0)
	last.Message.Retain = false
	d := w.client("d", Options{Will: last, Expiry: &zero})
	a.mu.Lock()
	a.running = true // somebody publishes, and has not come so far
	a.mu.Unlock()
	d.leave("peer_reset")
	if n, _ := account.Bytes(); n < int64(last.Message.Size()) {
		t.Errorf("%d bytes are owed while the will waits", n)
	}
	a.mu.Lock()
	a.running = false
	a.mu.Unlock()
	a.run()
	a.wait()
	expect(t, "wills", w.manager.Wills(), 1)
	if n, _ := account.Bytes(); n != 0 {
		t.Errorf("%d bytes are owed when it is published", n)
	}
}

// At the bound a connection with a will is refused, but not that of a device that is owed messages: it frees room.
func TestQuotaTakesTheCure(t *testing.T) {
	w, account := newAccountedWorld(t, store.Limits{})
	away := w.connect("away", Options{})
	away.sub(1, 1, "a")
	away.leave("")
	w.publish("a", "x", 1)
	owed, _ := account.Bytes()
	account.SetLimit(owed)

	var l Link
	if _, _, err := w.manager.attachNow("new", &l, &quietClient{}, Options{Will: will(0)}); !errors.Is(err, router.ErrQuota) {
		t.Errorf("who is owed nothing: %v", err)
	}
	resumed, _, err := w.manager.attachNow("away", &l, &quietClient{}, Options{Will: will(0)})
	if err != nil || !resumed {
		t.Errorf("who is owed something: resumed %t, %v", resumed, err)
	}
}

// Whoever fills the node is refused first, and others go on until it is full.
func TestQuotaHasShares(t *testing.T) {
	const limit = 100_000
	for _, c := range []struct {
		name    string
		fillers int // devices of one credential
		drop    string
	}{{"a device", 1, "quota_device"}, {"a credential", 20, "quota_credential"}} {
		t.Run(c.name, func(t *testing.T) {
			w, account := newAccountedWorld(t, store.Limits{})
			account.SetLimit(limit)
			away := w.connect("away", Options{})
			away.sub(1, 1, "a")
			away.leave("")
			for i := range 1000 {
				fill := w.connect(fmt.Sprint("evil-", i%c.fillers), Options{Permissions: heldBy(1)})
				fill.pub(1, "a", "0123456789", 1)
				fill.leave("")
			}
			if owed, _ := account.Bytes(); owed >= limit*9/10 {
				t.Errorf("they fill %d of %d", owed, limit)
			}
			if n := w.drops(); n[c.drop] == 0 || n["quota"] > 0 {
				t.Errorf("drops: %v, want %s", n, c.drop)
			}
			honest := w.connect("honest", Options{Permissions: heldBy(2)})
			for id := range uint64(5) {
				honest.pub(id+1, "a", "x", 1)
			}
			honest.saw("hello resumed=false missed=0", "ack 1", "ack 2", "ack 3", "ack 4", "ack 5")
			if back := w.publish("a", "x", 1).String(); back != "taken" {
				t.Errorf("the gateway's own: %s", back)
			}
		})
	}
}
