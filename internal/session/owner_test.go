package session

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// heldBy are the permissions of a credential that allows all.
type heldBy uint64

func (heldBy) MayPublish(_, _ string) bool   { return true }
func (heldBy) MaySubscribe(_, _ string) bool { return true }
func (heldBy) MayCall(_, _ string) bool      { return true }
func (c heldBy) Credential() uint64          { return uint64(c) }

// What one credential lets in has bounds, others have theirs, and what ends makes room.
func TestSessionsOfACredential(t *testing.T) {
	w := newWorld(t, Config{PerCredential: 2})
	attach := func(device string, o Options) (*conn, error) {
		c := &conn{world: w, room: -1}
		_, _, err := w.manager.attachNow(device, &c.link, c, o)
		return c, err
	}
	shared := Options{Permissions: heldBy(7)}
	for i := range 2 {
		c, err := attach(fmt.Sprint("meter-", i), shared)
		if err != nil {
			t.Fatal(err)
		}
		c.leave("")
	}
	if _, err := attach("meter-2", shared); !errors.Is(err, ErrCredentialFull) {
		t.Errorf("a third of two: %v", err)
	}
	if _, err := attach("meter-1", shared); err != nil {
		t.Errorf("a session that is there: %v", err)
	}
	if _, err := attach("other", Options{Permissions: heldBy(8)}); err != nil {
		t.Errorf("another credential: %v", err)
	}
	for i := range 3 {
		if _, err := attach(fmt.Sprint("anybody-", i), Options{}); err != nil {
			t.Errorf("no credential: %v", err)
		}
	}
	zero := time.Duration(0)
	c, err := attach("meter-0", Options{Permissions: heldBy(7), Clean: true, Expiry: &zero})
	if err != nil {
		t.Fatal(err)
	}
	c.leave("")
	if _, err := attach("meter-2", shared); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
	if _, err := attach("meter-1", Options{Permissions: heldBy(8)}); err != nil {
		t.Errorf("a session that another credential takes: %v", err)
	}
	if _, err := attach("meter-3", shared); err != nil {
		t.Errorf("after one was taken over: %v", err)
	}
}

// A session that another credential let in is one more for the credential that takes it. However many would be taken, those
// that a credential has may come again.
func TestFullCredentialKeepsItsSessions(t *testing.T) {
	w := newWorld(t, Config{PerCredential: 2})
	attach := func(device string, p heldBy) error {
		c := &conn{world: w, room: -1}
		_, _, err := w.manager.attachNow(device, &c.link, c, Options{Permissions: p})
		return err
	}
	for _, device := range []string{"meter-0", "meter-1"} {
		if err := attach(device, 7); err != nil {
			t.Fatal(err)
		}
	}
	if err := attach("other", 8); err != nil {
		t.Fatal(err)
	}
	if err := attach("other", 7); !errors.Is(err, ErrCredentialFull) {
		t.Errorf("a session of another credential: %v", err)
	}
	if err := attach("meter-0", 7); err != nil {
		t.Errorf("a session that is there: %v", err)
	}
}

func TestWillsOfACredential(t *testing.T) {
	size := will(0).Message.Size()
	w := newWorld(t, Config{WillsPerCredential: 2 * size})
	attach := func(device string) (*client, error) {
		c := &client{&conn{world: w, room: -1}}
		_, _, err := w.manager.attachNow(device, &c.link, c, Options{Permissions: heldBy(7), Will: will(time.Hour)})
		return c, err
	}
	a, err := attach("a")
	if err == nil {
		_, err = attach("b")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attach("c"); !errors.Is(err, ErrCredentialFull) {
		t.Errorf("a third of two: %v", err)
	}
	if _, err := attach("b"); err != nil {
		t.Errorf("a will in the place of its own: %v", err)
	}
	a.link.ForgetWill()
	if _, err := attach("c"); err != nil {
		t.Errorf("after one was forgotten: %v", err)
	}
	w.manager.owners.mu.Lock()
	defer w.manager.owners.mu.Unlock()
	if got := w.manager.owners.list[1]; got.wills != 2*size || got.sessions != 3 {
		t.Errorf("%+v", got)
	}
}

// The devices of a prefix have bounds of their own, whatever lets them in, also after a restart.
func TestSessionsOfAPrefix(t *testing.T) {
	size := will(0).Message.Size()
	c := Config{
		PerPrefix:      []string{"m-=3", "m-test-=1", "banned-=0"},
		WillsPerPrefix: []string{fmt.Sprintf("m-=%d", 2*size)},
	}
	w := newDurableWorld(t, c)
	attach := func(device string, want error, o Options) *client {
		t.Helper()
		x := &client{&conn{world: w, room: -1}}
		if _, _, err := w.manager.attachNow(device, &x.link, x, o); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", device, err, want)
		}
		return x
	}
	zero := time.Duration(0)
	attach("m-1", nil, Options{Will: will(time.Hour)}).leave("")
	attach("m-2", nil, Options{Will: will(time.Hour)}).leave("")
	attach("m-1", nil, Options{Will: will(time.Hour)}).leave("")
	attach("m-3", PrefixWillsFull, Options{Will: will(time.Hour)})
	attach("m-3", nil, Options{Clean: true, Expiry: &zero}).leave("")
	attach("m-4", nil, Options{}).leave("")
	attach("m-5", PrefixSessionsFull, Options{})
	attach("m-4", nil, Options{}).leave("")
	attach("m-test-1", nil, Options{}).leave("") // the longest prefix counts
	attach("m-test-2", PrefixSessionsFull, Options{})
	attach("banned-1", PrefixSessionsFull, Options{})
	attach("other", nil, Options{Will: will(time.Hour)})

	w = w.restarted(c)
	attach("m-5", PrefixSessionsFull, Options{})
	attach("m-4", PrefixWillsFull, Options{Will: will(time.Hour)})
	attach("m-4", nil, Options{Clean: true, Expiry: &zero}).leave("")
	attach("m-5", nil, Options{})

	for _, bad := range []Config{{PerPrefix: []string{"m-"}}, {WillsPerPrefix: []string{"m-=1", "m-=2"}}} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
