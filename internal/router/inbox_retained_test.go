package router

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
)

var errUnread = errors.New("the disk fails")

// A backend gets retained messages in the order of their topics, whether they are in memory or have to be read. Those that cannot be read, are
// lost, or were removed meanwhile are not in the way of the others.
func TestInboxReadsRetained(t *testing.T) {
	const n, unreadable, lost, removed, replaced = 100, 10, 20, 40, 50
	name := func(i int) string { return fmt.Sprintf("r/%03d", i) }
	s := storetest.NewOnJournal(store.Options{})
	var r *Router
	r = New(Config{Read: func(p *store.Page) error {
		if err := s.Read(p); err != nil {
			return err
		}
		for i, k := range p.Retained {
			switch k.Topic {
			case name(unreadable):
				p.Messages[i] = nil
				p.Fail(i, errUnread)
			case name(lost):
				p.Messages[i] = nil
			case name(removed):
				retain(t, r, name(removed), "")
			case name(replaced):
				retain(t, r, name(replaced), "new")
			}
		}
		return nil
	}}, s)
	for i := range n {
		payload := "small"
		if i%10 == 0 || i > 60 {
			payload = strings.Repeat(".", 3<<10)
		}
		retain(t, r, name(i), payload)
	}
	safe := make(chan error, 1)
	s.Commit(func(err error) { safe <- err })
	if err := <-safe; err != nil {
		t.Fatal(err)
	}
	s.UnloadRetained()
	b := open(t, r, InboxConfig{}, 1, true, "r/#")
	var got []string
	for len(got) < n-3 {
		batch, _, err := b.Take(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range batch {
			got = append(got, m.Topic)
		}
	}
	var want []string
	for i := range n {
		if i != unreadable && i != lost && i != removed && i != replaced {
			want = append(want, name(i))
		}
	}
	news := got[n-4:]
	if fmt.Sprint(got[:n-4]) != fmt.Sprint(want) || fmt.Sprint(news) != fmt.Sprint([]string{name(removed)}) && fmt.Sprint(news) != fmt.Sprint([]string{name(removed), name(replaced)}) {
		t.Errorf("got %q", got)
	}
	if r.Drops[Unreadable].Load() != 1 || r.Drops[Lost].Load() != 1 {
		t.Errorf("%d are unreadable, %d lost", r.Drops[Unreadable].Load(), r.Drops[Lost].Load())
	}
	left, err := r.ListRetained(t.Context(), "#", "", 2*n, func(store.Kept) bool { return true })
	if err != nil || len(left) != n-2 {
		t.Errorf("%d are left, %v", len(left), err)
	}
	if kept := b.Ledger(); kept.Taken != kept.Delivered+kept.Waiting+2 {
		t.Errorf("the account is %+v", kept)
	}
}

func retain(t *testing.T, r *Router, name, payload string) {
	t.Helper()
	m := &message.Message{Topic: name, Payload: []byte(payload), QoS: 1, Retain: true, Time: time.Now().UnixMilli()}
	if _, err := r.Publish(m, func(error) {}); err != nil {
		t.Fatal(err)
	}
}
