package gateway

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// file makes one of lines.
func file(t testing.TB, lines ...string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// hashed is a token as files have it.
func hashed(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// newGuarded starts a node that asks for credentials.
func newGuarded(t testing.TB, config auth.Config, s settings) *world {
	t.Helper()
	chain, err := auth.Open(config, new(reload.Watcher))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chain.Close)
	s.secure, s.gateway.Auth = true, chain
	return newWorld(t, s)
}

const secret = "a secret of 32 bytes, for HS256."

// jwtOnly accepts tokens that sign makes.
func jwtOnly(t testing.TB) auth.Config {
	return auth.Config{Order: []string{"jwt"}, JWT: auth.JWT{Secret: setting.SecretFile(file(t, secret)), Leeway: 1, NoExpiry: true}}
}

func sign(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func bearerHeader(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

func basicHeader(user, password string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}}
}

// greeted returns hello, or the status of the refusal.
func (p *peer) greeted() string {
	if p.status != "" {
		return p.status
	}
	var hello struct{ Op string }
	if err := json.Unmarshal(p.next(), &hello); err != nil {
		p.t.Fatal(err)
	}
	return hello.Op
}

func TestCredentials(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("sixteen characters"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	config := jwtOnly(t)
	config.Order = []string{"tokens", "basic", "jwt"}
	config.Tokens.File = file(t, "m-1 "+hashed("one"), "fleet-* "+hashed("many"))
	config.Basic.File = file(t, "m-1:"+string(hash))
	w := newGuarded(t, config, settings{})
	good := sign(t, jwt.MapClaims{"sub": "m-1"})
	offered := "longline.token." + base64.RawURLEncoding.EncodeToString([]byte(good))
	for _, tt := range []struct {
		name, target string
		header       http.Header
		offer        []string
		want         string
	}{
		{"nothing", "/connect/m-1", nil, nil, "401 No credential was shown."},
		{"token", "/connect/m-1", bearerHeader("one"), nil, "hello"},
		{"any case of the scheme", "/connect/m-1", http.Header{"Authorization": {"bEARER  one"}}, nil, "hello"},
		{"the token names the device", "/connect", bearerHeader("one"), nil, "hello"},
		{"one token, a fleet", "/connect/fleet-7", bearerHeader("many"), nil, "hello"},
		{"another device's", "/connect/m-2", bearerHeader("one"), nil, "403 The credential belongs to another device."},
		{"unknown", "/connect/m-1", bearerHeader("two"), nil, "401 The credential is not known."},
		{"in the query", "/connect/m-1?token=o%6Ee", nil, nil, "hello"},
		{"the header goes first", "/connect/m-1?token=one", bearerHeader("two"), nil, "401 The credential is not known."},
		{"as a subprotocol", "/connect/m-1", nil, []string{offered, "longline.v1.json"}, "hello"},
		{"another's as a subprotocol", "/connect/m-2", nil, []string{"longline.v1.json", offered}, "403 The credential belongs to another device."},
		{"basic", "/connect/m-1", basicHeader("m-1", "sixteen characters"), nil, "hello"},
		{"wrong password", "/connect/m-1", basicHeader("m-1", "another 16 characters"), nil, "401 Wrong user or password."},
		{"another device's password", "/connect/m-2", basicHeader("m-1", "sixteen characters"), nil, "403 The credential belongs to another device."},
		{"not base64", "/connect/m-1", http.Header{"Authorization": {"Basic !"}}, nil, "401 No credential was shown."},
		{"JWT", "/connect/m-1", bearerHeader(good), nil, "hello"},
		{"broken JWT", "/connect/m-1", bearerHeader(good[:len(good)-4] + "AAAA"), nil, "401 The token's signature or algorithm is not accepted."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := w.connectWith(tt.header, tt.target, tt.offer...)
			if got := p.greeted(); got != tt.want {
				t.Fatalf("got %s, want %s", got, tt.want)
			}
			if p.ws != nil && p.ws.Subprotocol() == offered {
				t.Error("the token comes back")
			}
			challenges := fmt.Sprint(p.header["Www-Authenticate"])
			if asks := strings.Contains(challenges, "Bearer") && strings.Contains(challenges, "Basic"); asks != strings.HasPrefix(tt.want, "401") {
				t.Errorf("challenges %s", challenges)
			}
		})
	}
}

// What may not be done is answered; the connection stays.
func TestPermissions(t *testing.T) {
	w := newGuarded(t, jwtOnly(t), settings{gateway: Config{RawProtocols: []string{"ocpp1.6"}}})
	inbox := w.subscribe("#")
	only := jwt.MapClaims{"publish": []string{"{device}/up"}, "subscribe": []string{"news/+"}}
	for device, tt := range map[string]struct {
		claims jwt.MapClaims
		yes    []string
		no     []string
	}{
		"m-1": {
			jwt.MapClaims{"sub": "m-1"},
			[]string{`"pub","qos":1,"topic":"device/m-1/a/b"`, `"sub","filters":["device/m-1/#","broadcast/x"]`},
			[]string{`"pub","qos":1,"topic":"device/m-2/a"`, `"pub","qos":1,"topic":"broadcast/x"`, `"sub","filters":["device/m-1/#","device/+/x"]`, `"sub","filters":["#"]`},
		},
		"m-2": {
			jwt.MapClaims{"sub": "m-2", "permissions": only},
			[]string{`"pub","qos":1,"topic":"m-2/up"`, `"sub","filters":["news/berlin"]`},
			[]string{`"pub","qos":1,"topic":"device/m-2/up"`, `"sub","filters":["news/#"]`},
		},
	} {
		p := w.connectWith(bearerHeader(sign(t, tt.claims)), "/connect/"+device)
		p.next()
		for i, packet := range tt.yes {
			p.say(fmt.Sprintf(`{"id":%d,"op":%s}`, i+1, packet))
			if got, want := string(p.next()), fmt.Sprintf(`{"op":"ack","id":%d}`, i+1); got != want {
				t.Errorf("%s: %s: %s", device, packet, got)
			}
		}
		for _, packet := range tt.no {
			p.say(`{"id":9,"op":` + packet + `}`)
			if got := string(p.next()); !strings.Contains(got, `"code":"not_allowed"`) {
				t.Errorf("%s: %s: %s", device, packet, got)
			}
		}
	}
	none := jwt.MapClaims{"sub": "cp-1", "permissions": jwt.MapClaims{}}
	raw := w.connectWith(bearerHeader(sign(t, none)), "/connect/cp-1", "ocpp1.6")
	raw.say("[2]")
	if got := w.take(inbox, 3)[2].Topic; got != "device/cp-1/up" { // after one of each of the others
		t.Errorf("a raw device published to %s", got)
	}
}

// A credential that expires is refreshed in band, or ends the connection after the grace.
func TestCredentialsExpire(t *testing.T) {
	config := jwtOnly(t)
	config.Grace = 500 * time.Millisecond
	w := newGuarded(t, config, settings{})
	soon := time.Now().Add(2 * time.Second)
	token := sign(t, jwt.MapClaims{"sub": "m-1", "exp": soon.Unix()})
	lazy, busy := w.connectWith(bearerHeader(token), "/connect/m-1"), (*peer)(nil)
	if hello := string(lazy.next()); !strings.Contains(hello, `"expires":`) {
		t.Errorf("hello does not say when: %s", hello)
	}
	busy = w.connectWith(bearerHeader(sign(t, jwt.MapClaims{"sub": "m-2", "exp": soon.Unix()})), "/connect/m-2")
	busy.next()
	for _, tt := range []struct{ token, want string }{
		{token, `"code":"unauthorized","reason":"the credential belongs to another device"`},
		{"x.y.z", `"code":"unauthorized"`},
		{sign(t, jwt.MapClaims{"sub": "m-2", "exp": time.Now().Add(time.Hour).Unix()}), `{"op":"ack","id":5,"expires":36`},
	} {
		busy.say(`{"op":"refresh","id":5,"token":"` + tt.token + `"}`)
		if got := string(busy.next()); !strings.Contains(got, tt.want) {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
	if end := lazy.closed(); end.Code != 4003 || time.Now().Before(soon) {
		t.Errorf("closed with %v, %v after it expired", end, time.Since(soon))
	}
	busy.quiet()
	if again := w.connectWith(bearerHeader(token), "/connect/m-1"); !strings.HasPrefix(again.status, "401") {
		t.Errorf("an expired token: %q", again.status)
	}
}

// A credential that allows less than the one before ends what it does not allow.
func TestRefreshNarrowsPermissions(t *testing.T) {
	w := newGuarded(t, jwtOnly(t), settings{})
	token := func(subscribe ...string) string {
		return sign(t, jwt.MapClaims{"sub": "m-1", "permissions": jwt.MapClaims{"subscribe": subscribe}})
	}
	p := w.connectWith(bearerHeader(token("a/#", "b/#")), "/connect/m-1")
	p.next()
	p.say(`{"op":"sub","id":1,"filters":["a/x","b/x"]}`)
	p.next()
	p.say(`{"op":"refresh","id":2,"token":"` + token("b/#") + `"}`)
	p.next()
	for _, topic := range []string{"a/x", "b/x"} {
		w.publish(topic, 0, 0, "1")
	}
	if got := string(p.next()); !strings.Contains(got, `"topic":"b/x"`) {
		t.Error(got)
	}
	p.quiet()
}

// A device above its rate that refreshes its credential is read again no later for it.
func TestRefreshAboveTheRate(t *testing.T) {
	const packets = 20
	w := newGuarded(t, jwtOnly(t), settings{gateway: Config{Heartbeat: 2 * patience, Limits: limit.Config{Device: limit.DeviceConfig{Messages: 10}}}})
	p := w.connectWith(bearerHeader(sign(t, jwt.MapClaims{"sub": "m-1"})), "/connect/m-1")
	p.next()
	all := masked(`{"op":"refresh","id":100,"token":"` + sign(t, jwt.MapClaims{"sub": "m-1"}) + `"}`)
	for i := range packets {
		all = append(all, masked(fmt.Sprintf(`{"op":"pub","id":%d,"topic":"device/m-1/t","payload":1,"qos":1}`, i+1))...)
	}
	if _, err := p.tcp.Write(all); err != nil {
		t.Fatal(err)
	}
	for range packets + 1 {
		if got := string(p.next()); !strings.Contains(got, `"ack"`) || strings.Contains(got, "error") {
			t.Errorf("%s, want an answer", got)
		}
	}
	if w.metric("longline_readers_slowed_total/rate") == 0 {
		t.Error("the device was not slowed")
	}
}

// Nobody is let in while a service that knows devices is down; what is wrong there is not told.
func TestServiceThatIsDown(t *testing.T) {
	config := auth.Config{Order: []string{"webhook"}, Webhook: auth.Webhook{URL: "http://127.0.0.1:1"}}
	w := newGuarded(t, config, settings{})
	p := w.connectWith(bearerHeader("x"), "/connect")
	if !strings.HasPrefix(p.status, "503 ") || strings.Contains(p.status, "127.0.0.1") || p.header.Get("Retry-After") == "" {
		t.Errorf("%q", p.status)
	}
}

// A gateway that ends waits for no service that is silent, nor for who stands in line for it.
func TestServiceThatIsSilent(t *testing.T) {
	asked, leave := make(chan struct{}, 1), make(chan struct{})
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-leave
	}))
	t.Cleanup(hook.Close)
	t.Cleanup(func() { close(leave) })
	config := auth.Config{Order: []string{"webhook"}, Concurrency: 1, Webhook: auth.Webhook{URL: hook.URL, Timeout: patience}}
	w := newGuarded(t, config, settings{gateway: Config{HandshakeTimeout: patience}})
	for i := range 3 {
		if _, err := io.WriteString(w.dial(), upgrade(fmt.Sprintf("/connect/d%d?token=x", i))); err != nil {
			t.Fatal(err)
		}
	}
	<-asked
	w.await("the others to wait", func() bool { return w.gateway.door.Stats().Workers.Waiting == 2 })
	start := time.Now()
	w.gateway.Close()
	if took := time.Since(start); took > patience/4 {
		t.Errorf("closing took %v", took)
	}
}

func TestRefreshWithoutCredentials(t *testing.T) {
	w := newWorld(t, settings{})
	p := w.connect("/connect/a")
	p.next()
	p.say(`{"op":"refresh","id":1,"token":"x"}`)
	if got := string(p.next()); got != `{"op":"ack","id":1}` {
		t.Error(got)
	}
	if _, err := w.gateway.Revoke(auth.Bearer{Device: "a"}, time.Now().Add(time.Hour)); !errors.Is(err, auth.ErrNothingShown) {
		t.Error(err)
	}
}

// Revocation closes at once what is there, and refuses what comes.
func TestRevoke(t *testing.T) {
	w := newGuarded(t, jwtOnly(t), settings{})
	token := func(device, id string) http.Header {
		return bearerHeader(sign(t, jwt.MapClaims{"sub": device, "jti": id}))
	}
	a, b, c := w.connectWith(token("a", "t1"), "/connect"), w.connectWith(token("b", "t2"), "/connect"), w.connectWith(token("c", "t3"), "/connect")
	for _, p := range []*peer{a, b, c} {
		p.next()
	}
	for i, who := range []auth.Bearer{{Device: "a"}, {Credential: "t2"}, {Device: "t3"}, {Credential: "c"}} { // the last two are others' names
		if n, err := w.gateway.Revoke(who, time.Now().Add(time.Hour)); err != nil || n != max(0, 1-i/2) {
			t.Errorf("%v: %d connections, %v", who, n, err)
		}
	}
	for _, p := range []*peer{a, b} {
		if end := p.closed(); end.Code != 4004 {
			t.Errorf("closed with %v", end)
		}
	}
	c.quiet()
	for want, header := range map[string]http.Header{"401 The credential is revoked.": token("a", "t4"), "hello": token("b", "t5")} {
		if got := w.connectWith(header, "/connect").greeted(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if _, err := w.gateway.Revoke(auth.Bearer{Device: "a"}, time.Now()); err != nil {
		t.Error(err)
	}
	if got := w.connectWith(token("a", "t4"), "/connect").greeted(); got != "hello" {
		t.Errorf("after the revocation was lifted: %s", got)
	}
}

// begin sends bytes.
func begin(t *testing.T, c net.Conn, request string) {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
}

// slowService answers when it is told to.
func slowService(t *testing.T) (config auth.Config, asked chan string, answer chan int) {
	asked, answer = make(chan string, 8), make(chan int, 8)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Device string }
		_ = json.NewDecoder(r.Body).Decode(&q)
		asked <- q.Device
		if status, ok := <-answer; ok {
			w.WriteHeader(status)
			_, _ = w.Write([]byte("{}"))
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(answer) })
	return auth.Config{Order: []string{"webhook"}, Webhook: auth.Webhook{URL: s.URL}, Concurrency: 1, Waiting: 1}, asked, answer
}

// As many devices wait for their verification as configured; the next is told to come back.
func TestAdmissionIsBounded(t *testing.T) {
	config, asked, answer := slowService(t)
	w := newGuarded(t, config, settings{gateway: Config{Loops: 1}})
	request := func(id string) string { return upgrade("/connect/"+id, "Authorization: Bearer x") }
	first := w.dial()
	begin(t, first, request("a"))
	<-asked
	second := w.dial()
	begin(t, second, request("b"))
	w.await("the second in the line", func() bool { return w.metric("longline_jobs/waiting") == 1 })
	if got := ask(t, w.dial(), request("c")); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("the third: %d %s", got.status, got.body)
	}
	answer <- 200
	answer <- 403
	if got := ask(t, first, ""); got.status != 101 {
		t.Errorf("the first: %d %s", got.status, got.body)
	}
	if got := ask(t, second, ""); got.status != 401 {
		t.Errorf("the second: %d %s", got.status, got.body)
	}
}

// A handshake takes no longer for being verified, and may end meanwhile.
func TestHandshakeEndsWhileVerified(t *testing.T) {
	config, asked, answer := slowService(t)
	config.Waiting = 8
	w := newGuarded(t, config, settings{gateway: Config{HandshakeTimeout: 300 * time.Millisecond}})
	gone := w.dial()
	begin(t, gone, upgrade("/connect/a", "Authorization: Bearer x"))
	<-asked
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, w.dial(), upgrade("/connect/b", "Authorization: Bearer x")); got.status != 408 && got.status != 503 {
		t.Errorf("%d %s", got.status, got.body)
	}
	for range 3 { // b may be asked about with the last of its time
		answer <- 200
	}
	if got := ask(t, w.dial(), upgrade("/connect/c", "Authorization: Bearer x")); got.status != 101 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if all, _ := w.sessions.Count(); all != 1 {
		t.Errorf("%d sessions, want that of c", all)
	}
}

func TestOrigins(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{Origins: []string{"https://example.com"}}})
	for origin, want := range map[string]string{
		"": "hello", "https://example.com": "hello", "https://example.com.evil.org": "403", "null": "403",
	} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		if got := w.connectWith(header, "/connect/a").greeted(); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s, want %s", origin, got, want)
		}
	}
}

// A token that is taken out of its file, or a user with another password, is let in no more, and what it had let in
// is closed.
func TestWithdrawnCredentials(t *testing.T) {
	watcher := new(reload.Watcher)
	line := func(device, token string) string {
		sum := sha256.Sum256([]byte(token))
		return device + " sha256:" + hex.EncodeToString(sum[:]) + "\n"
	}
	name := file(t, line("a", "one")+line("b", "two"))
	chain, err := auth.Open(auth.Config{Order: []string{"tokens"}, Tokens: auth.Tokens{File: name}}, watcher)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chain.Close)
	w := newWorld(t, settings{secure: true, gateway: Config{Auth: chain}})
	a, b := w.connectWith(bearerHeader("one"), "/connect"), w.connectWith(bearerHeader("two"), "/connect")
	a.next()
	b.next()
	if err := os.WriteFile(name, []byte(line("b", "two")), 0o600); err != nil {
		t.Fatal(err)
	}
	watcher.Look()
	if end := a.closed(); end.Code != 4004 {
		t.Errorf("closed with %v", end)
	}
	b.quiet()
	if got := w.connectWith(bearerHeader("one"), "/connect").greeted(); !strings.HasPrefix(got, "401") {
		t.Error(got)
	}
}
