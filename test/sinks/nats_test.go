//go:build servers || long

package sinks

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/setting"
	sink "github.com/longline/longline/internal/sink/nats"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/test/servers"
)

// JetStream knows the last messages by their IDs, so nothing comes twice.
func TestNATS(t *testing.T) {
	var server *servers.Server
	made := make(map[string]bool)
	sinktest.Run(t, sinktest.Server{
		Start: func(t testing.TB, _ string) string {
			if server == nil {
				server = servers.NATS(t)
			} else {
				server.Restart()
			}
			return server.Address()
		},
		Kill: func(testing.TB) { server.Kill() },
		Open: func(t testing.TB, proxy, where string, o pump.Options) pump.Target {
			if !made[where] { // the server may be away when the sink is opened again
				newStream(t, jetStream(t, server), jetstream.StreamConfig{Name: where, Subjects: []string{where}, MaxMsgSize: 1000})
				made[where] = true
			}
			return openNATS(t, sink.Config{Servers: []string{"nats://" + proxy}, Subject: where, Timeout: time.Second}, o)
		},
		Read: func(t testing.TB, where string) [][]byte { return natsPayloads(t, jetStream(t, server), where) },
		Bad:  []byte(`"` + strings.Repeat("x", 2000) + `"`),
		Once: true,
	})
}

func openNATS(t testing.TB, c sink.Config, o pump.Options) pump.Target {
	t.Helper()
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	to, err := sink.Open(c, options(o))
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func jetStream(t testing.TB, server *servers.Server, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	c, err := nats.Connect("nats://"+server.Address(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func newStream(t testing.TB, js jetstream.JetStream, c jetstream.StreamConfig) {
	t.Helper()
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// natsMessages returns the messages of a stream.
func natsMessages(t testing.TB, js jetstream.JetStream, name string) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	info := s.CachedInfo().State
	for n := info.FirstSeq; n <= info.LastSeq; n++ {
		m, err := s.GetMsg(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func natsPayloads(t testing.TB, js jetstream.JetStream, name string) (all [][]byte) {
	t.Helper()
	for _, m := range natsMessages(t, js, name) {
		all = append(all, m.Data)
	}
	return all
}

// A message has headers, and its ID makes it come once.
func TestNATSMessage(t *testing.T) {
	server := servers.NATS(t)
	js := jetStream(t, server)
	newStream(t, js, jetstream.StreamConfig{Name: "all", Subjects: []string{"t.>"}})
	for range 2 {
		to := openNATS(t, sink.Config{Servers: []string{"nats://" + server.Address()}, Subject: "t.{source}", Stream: "all"}, pump.Options{})
		if done, err := to.Send(t.Context(), prepare(t, to, numbered(3)...)); done != 3 || err != nil {
			t.Fatal(done, err)
		}
		to.Close()
	}
	all := natsMessages(t, js, "all")
	if len(all) != 3 || all[0].Subject != "t.d" || string(all[0].Data) != "1" {
		t.Fatalf("%d messages", len(all))
	}
	want := map[string]string{
		"Nats-Msg-Id": "3/all/1/1", "longline-place": "3/all/1", "longline-topic": "t", "longline-source": "d", "longline-time": "1", "content-type": "application/json",
	}
	for name, value := range want {
		if got := all[0].Header[name]; len(got) != 1 || got[0] != value {
			t.Errorf("%s is %q, want %s", name, got, value)
		}
	}
}

// All ways to say who the gateway is, and what the server says to others.
func TestNATSIdentity(t *testing.T) {
	files := newCertificate(t)
	keys, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, _ := keys.PublicKey()
	seed, _ := keys.Seed()
	for _, c := range []struct {
		name, server string
		config       sink.Config
		wrong        bool
	}{
		{"token", `authorization {token: sesame}`, sink.Config{Token: setting.NewSecret("sesame")}, false},
		{"wrong token", `authorization {token: sesame}`, sink.Config{Token: setting.NewSecret("x")}, true},
		{"nobody", `authorization {token: sesame}`, sink.Config{}, true},
		{"user", `authorization {user: a, password: b}`, sink.Config{Username: "a", Password: setting.NewSecret("b")}, false},
		{"wrong password", `authorization {user: a, password: b}`, sink.Config{Username: "a", Password: setting.NewSecret("c")}, true},
		{"nkey", `authorization {users: [{nkey: ` + public + `}]}`, sink.Config{NKey: setting.NewSecret(string(seed))}, false},
		{"tls", `tls {cert_file: "` + files.cert + `", key_file: "` + files.key + `"}`, sink.Config{TLS: setting.TLS{CA: files.cert}}, false},
		{"wrong authority", `tls {cert_file: "` + files.cert + `", key_file: "` + files.key + `"}`, sink.Config{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "nats.conf")
			if err := os.WriteFile(file, []byte(c.server), 0o600); err != nil {
				t.Fatal(err)
			}
			server := servers.NATS(t, "-c", file)
			c.config.Servers, c.config.Subject = []string{"nats://" + server.Address()}, "a"
			to := openNATS(t, c.config, pump.Options{})
			defer to.Close()
			done, err := to.Send(t.Context(), prepare(t, to, numbered(1)...))
			// There is no stream, but who has come so far is let in.
			if in := err != nil && strings.Contains(err.Error(), "no stream has the subject a"); done != 0 || in == c.wrong || pump.IsMisconfigured(err) {
				t.Error(done, err)
			}
		})
	}
}

// A subject on which the user may not publish, or that no stream has, is the fault of the device that had a say in it. It holds up nobody.
func TestNATSSubjects(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nats.conf")
	text := `authorization {users: [
		{user: admin, password: a},
		{user: gateway, password: b, permissions: {publish: ["good.>", "lost", "$JS.API.STREAM.NAMES"], subscribe: "_INBOX.>"}}
	]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server := servers.NATS(t, "-c", file)
	js := jetStream(t, server, nats.UserInfo("admin", "a"))
	newStream(t, js, jetstream.StreamConfig{Name: "all", Subjects: []string{"good.>", "bad.>"}})
	to := openNATS(t, sink.Config{
		Servers: []string{"nats://" + server.Address()}, Username: "gateway", Password: setting.NewSecret("b"), Subject: "{topic}", Timeout: time.Minute,
	}, pump.Options{})
	defer to.Close()
	all := numbered(20)
	for i, m := range all {
		m.Source = fmt.Sprint("d", i%3)
		m.Topic = cmp.Or(map[int]string{4: "bad.x", 9: "lost", 14: "bad.y"}[i], "good."+m.Source)
	}
	records := prepare(t, to, all...)
	var refused []uint64
	for len(records) > 0 {
		done, err := to.Send(t.Context(), records)
		records = records[done:]
		if err == nil {
			break
		}
		if !pump.IsRefused(err) {
			t.Fatal(err)
		}
		refused = append(refused, records[0].Place)
		records = records[1:]
	}
	by := make(map[string]string)
	for _, m := range natsMessages(t, js, "all") {
		by[m.Subject] += " " + string(m.Data)
	}
	if fmt.Sprint(refused) != "[5 10 15]" || by["good.d0"] != " 1 4 7 13 16 19" || by["good.d1"] != " 2 8 11 14 17 20" || by["good.d2"] != " 3 6 9 12 18" {
		t.Errorf("refused %v, published %v", refused, by)
	}
}

// While a stream is full, or not there, its messages wait. Then they come, in order.
func TestNATSFullStream(t *testing.T) {
	server := servers.NATS(t)
	js := jetStream(t, server)
	to := openNATS(t, sink.Config{Servers: []string{"nats://" + server.Address()}, Subject: "a"}, pump.Options{})
	defer to.Close()
	var all []*message.Message
	for i, m := range numbered(20) {
		m.Source = fmt.Sprint("d", i%2)
		all = append(all, m)
	}
	records := prepare(t, to, all...)
	if done, err := to.Send(t.Context(), records); done != 0 || err == nil || pump.IsMisconfigured(err) || pump.IsRefused(err) {
		t.Fatal(done, err)
	}
	newStream(t, js, jetstream.StreamConfig{Name: "all", Subjects: []string{"a"}, MaxMsgs: 5, Discard: jetstream.DiscardNew})
	done, err := to.Send(t.Context(), records)
	if done != 5 || err == nil || pump.IsMisconfigured(err) || pump.IsRefused(err) {
		t.Fatal(done, err)
	}
	if _, err := js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "all", Subjects: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	if n, err := to.Send(t.Context(), records[done:]); done+n != 20 || err != nil {
		t.Fatal(n, err)
	}
	last := make(map[int]int)
	got := natsPayloads(t, js, "all")
	for _, p := range got {
		var n int
		if _, err := fmt.Sscan(string(p), &n); err != nil || n <= last[n%2] {
			t.Fatalf("%s", texts(got))
		}
		last[n%2] = n
	}
	if len(got) != 20 {
		t.Errorf("%s", texts(got))
	}
}
