package nats

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/pump"
)

func TestConfig(t *testing.T) {
	at, secret := []string{"nats://h:4222"}, setting.NewSecret("a")
	for want, c := range map[string]Config{
		"":                          {Servers: []string{"nats://h", "tls://[::1]:4222"}, Subject: "a.{source}"},
		"servers: want":             {Subject: "a"},
		"servers: want a URL":       {Servers: []string{"h:4222"}, Subject: "a"},
		"servers: the URL has a pa": {Servers: []string{"nats://u:p@h"}, Subject: "a"},
		"username: want both":       {Servers: at, Subject: "a", Username: "u"},
		"token: want one of":        {Servers: at, Subject: "a", Token: secret, NKey: secret},
		"tls.cert: want":            {Servers: at, Subject: "a", TLS: setting.TLS{Cert: "x"}},
		"timeout: want":             {Servers: at, Subject: "a", Timeout: 1},
		"stream: want":              {Servers: at, Subject: "a", Stream: "a.b"},
		"subject: want":             {Servers: at},
		"subject: the subject":      {Servers: at, Subject: "a.>"},
		"subject: ":                 {Servers: at, Subject: "{nothing}"},
	} {
		err := c.WithDefaults().Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
	for key, c := range map[string]Config{"nkey: ": {NKey: secret}, "credentials: ": {Credentials: secret}} {
		c.Servers, c.Subject = at, "a"
		if _, err := Open(c.WithDefaults(), pump.Options{}); err == nil || !strings.HasPrefix(err.Error(), key) || strings.Contains(err.Error(), "(secret)") {
			t.Error(err)
		}
	}
}

func TestSubjects(t *testing.T) {
	for _, good := range []string{"a", "a.b", "device/m-7", "a$", "a._INBOX", "ä", "_INBOXES.a"} {
		if err := checkSubject(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPUB x 0", "*", "a.*", "a.>", "$JS.API.STREAM.DELETE.all", "$SYS.REQ", "_INBOX.x", "_INBOX", "a\x7f", "a\x00"} {
		if checkSubject(bad) == nil {
			t.Errorf("%q is a subject", bad)
		}
	}
}

// Of each key the first is in a round, and no more than fit; what is behind a record that waits waits as well.
func TestSplit(t *testing.T) {
	var waiting []*pump.Record
	for i := range 2*window + 10 {
		waiting = append(waiting, &pump.Record{Key: fmt.Sprint(i % (window + 5)), Place: uint64(i + 1)}) //nolint:gosec // small
	}
	last := make(map[string]uint64)
	rounds, all := 0, len(waiting)
	for len(waiting) > 0 {
		var round []*pump.Record
		round, waiting = split(waiting)
		keys := make(map[string]bool)
		for _, r := range round {
			if keys[r.Key] || last[r.Key] >= r.Place {
				t.Fatalf("round %d: key %s, place %d behind %d", rounds, r.Key, r.Place, last[r.Key])
			}
			keys[r.Key], last[r.Key] = true, r.Place
			all--
		}
		if rounds++; len(round) == 0 || len(round) > window {
			t.Fatalf("%d records in a round", len(round))
		}
	}
	if all != 0 {
		t.Errorf("%d records are missing", all)
	}
}

// What an error means depends on whether a device may have had a say in the subject.
func TestMeaning(t *testing.T) {
	for subject, mine := range map[string]bool{"a": false, "{topic}": true} {
		to, err := Open(Config{Servers: []string{"nats://h"}, Subject: subject}.WithDefaults(), pump.Options{})
		if err != nil {
			t.Fatal(err)
		}
		target := to.(*target)
		for _, c := range []struct {
			err     error
			refused bool
		}{
			{nats.ErrMaxPayload, true},
			{&jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamMessageExceedsMaximum}, true},
			{&jetstream.APIError{ErrorCode: streamNotMatch}, mine},
			{errDenied, mine},
			{&jetstream.APIError{ErrorCode: 10077}, false}, // the stream is full
			{jetstream.ErrAsyncPublishTimeout, false},
			{nats.ErrAuthorization, false},
			{errEnded, false},
		} {
			if err := target.meaning(c.err); pump.IsRefused(err) != c.refused || pump.IsMisconfigured(err) || !errors.Is(err, c.err) {
				t.Errorf("%s: %v is %v", subject, c.err, err)
			}
		}
		// What only a person can mend stops the sink after a while.
		_ = target.patience.Misconfigured(nats.ErrAuthorization, time.Now().Add(-2*time.Minute))
		if err := target.meaning(nats.ErrAuthorization); !pump.IsMisconfigured(err) {
			t.Error(err)
		}
		to.Close()
	}
}
