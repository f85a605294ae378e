package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/gateway/ocpp"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
)

// csms is the service of chargers in a test.
type csms struct {
	t     testing.TB
	asked chan *asked
}

// asked is a call that the service has.
type asked struct {
	*service.Call
	service string
	done    func(*service.Reply)
}

// Begin implements session.Services.
func (s *csms) Begin(name string, c *service.Call, _ time.Duration, done func(*service.Reply)) (cancel func()) {
	if c.Method == "AtOnce" {
		done(&service.Reply{Payload: c.Payload})
		return func() {}
	}
	once := new(sync.Once)
	a := &asked{c, name, func(r *service.Reply) { once.Do(func() { done(r) }) }}
	s.asked <- a
	return func() { a.refuse(service.Canceled, "") }
}

// next returns the next call, which has to be of a method with a payload.
func (s *csms) next(method, payload string) *asked {
	s.t.Helper()
	select {
	case a := <-s.asked:
		if a.service != "csms" || a.Method != method || string(a.Payload) != payload || a.ContentType != message.JSON {
			s.t.Fatalf("got %s %s %s of %s, want %s %s", a.Method, a.Payload, a.ContentType, a.service, method, payload)
		}
		return a
	case <-time.After(patience):
		s.t.Fatalf("no %s came", method)
		return nil
	}
}

// idle fails if a call has come that nobody expected. What the charger sent was read before.
func (s *csms) idle() {
	s.t.Helper()
	select {
	case a := <-s.asked:
		s.t.Fatalf("%s came too early", a.Method)
	default:
	}
}

func (a *asked) answer(payload string) {
	a.done(&service.Reply{Payload: []byte(payload), ContentType: message.JSON})
}

func (a *asked) refuse(code, reason string) {
	a.done(&service.Reply{Err: service.Refusal{Code: code, Reason: reason}})
}

// chargerWorld is a node with a service for chargers.
type chargerWorld struct {
	*world
	csms *csms
}

func newChargerWorld(t testing.TB, s settings) *chargerWorld {
	t.Helper()
	c := &csms{t, make(chan *asked, 100)}
	s.sessions.Services = c
	s.gateway.OCPP.Service = "csms"
	return &chargerWorld{newWorld(t, s), c}
}

// charger connects one. All it gets are frames.
func (w *chargerWorld) charger(version, id string) *peer {
	w.t.Helper()
	p := w.connect("/ocpp/"+id, version)
	if p.status != "" {
		w.t.Fatal(p.status)
	}
	if got := p.ws.Subprotocol(); got != version {
		w.t.Fatalf("the subprotocol is %q", got)
	}
	return p
}

// hears asserts the next frame.
func (p *peer) hears(want string) {
	p.t.Helper()
	if got := string(p.next()); got != want {
		p.t.Fatalf("got %s, want %s", got, want)
	}
}

func TestChargerAsks(t *testing.T) {
	for _, version := range []string{"ocpp1.6", "ocpp2.0.1", "ocpp2.1"} {
		w := newChargerWorld(t, settings{})
		p := w.charger(version, "CP%2F1")
		p.say(`[2,"19","BootNotification",{ "chargePointVendor": "\u00e9" }]`)
		a := w.csms.next("BootNotification", `{ "chargePointVendor": "\u00e9" }`)
		if a.Device != "x:CP:2F1" {
			t.Errorf("device %q", a.Device)
		}
		p.quiet() // pings are answered meanwhile
		a.answer(` {"status": "Accepted"} `)
		p.hears(`[3,"19",{"status": "Accepted"}]`)

		p.say(`[2,"19","Heartbeat",{}]`) // an id may be used again
		w.csms.next("Heartbeat", `{}`).answer("")
		p.hears(`[3,"19",{}]`)
		p.say(`[2,7,"Heartbeat"]`) // as some chargers write it
		w.csms.next("Heartbeat", `{}`).answer(`[]`)
		p.hears(`[4,7,"InternalError","the answer is not a JSON object",{}]`)
		p.say(`[2,"8","AtOnce",{"n":1}]`, `[2,"9","AtOnce",{"n":2}]`)
		p.hears(`[3,"8",{"n":1}]`)
		p.hears(`[3,"9",{"n":2}]`)
	}
}

// A refusal is an error of OCPP, as the version spells it. docs/ocpp.md has the same table.
func TestChargerIsRefused(t *testing.T) {
	w := newChargerWorld(t, settings{})
	for version, spelling := range map[string]string{"ocpp1.6": "FormationViolation", "ocpp2.0.1": "FormatViolation"} {
		p := w.charger(version, "cp")
		for code, want := range map[string]string{
			service.UnknownMethod: "NotImplemented", service.NotAllowed: "SecurityError", service.UnknownService: "InternalError",
			service.Unavailable: "InternalError", service.Busy: "InternalError", service.Timeout: "InternalError", service.TooLarge: "InternalError",
			service.InvalidAnswer: "InternalError", service.Failed: "GenericError", "no_such_card": "GenericError",
			"not_supported": "NotSupported", "type_constraint_violation": "TypeConstraintViolation", "format_violation": spelling,
		} {
			p.say(`[2,"a","Authorize",{}]`)
			w.csms.next("Authorize", "{}").refuse(code, `"why"`)
			p.hears(`[4,"a","` + want + `","\"why\"",{}]`)
		}
	}
}

// The service has one CALL of a charger at a time, in their order, whatever the charger sends ahead.
func TestChargerSendsAhead(t *testing.T) {
	account := new(message.Account)
	w := newChargerWorld(t, settings{gateway: Config{OCPP: ocpp.Config{Waiting: 2}}, router: router.Config{Account: account}})
	p := w.charger("ocpp1.6", "cp")
	p.say(`[2,"1","BootNotification",{}]`, `[2,"2","StatusNotification",{"connectorId":1}]`, `[2,"3","StatusNotification",{"connectorId":2}]`)
	boot := w.csms.next("BootNotification", "{}")
	p.say(`[2,"1","Heartbeat",{}]`)
	p.hears(`[4,"1","GenericError","another CALL with this message id is not answered yet",{}]`)
	p.say(`[2,"3","Heartbeat",{}]`)
	p.hears(`[4,"3","GenericError","another CALL with this message id is not answered yet",{}]`)
	p.say(`[2,"4","Heartbeat",{}]`)
	p.hears(`[4,"4","GenericError","too many CALLs wait for the answer to the first; send one at a time, OCPP-J 4.1.1",{}]`)
	if owed, _ := account.Bytes(); owed < 2*512+2*int64(len(`{"connectorId":1}`)) {
		t.Errorf("%d bytes are counted while three CALLs are under way", owed)
	}
	w.csms.idle()
	boot.answer(`{"status":"Accepted"}`)
	p.hears(`[3,"1",{"status":"Accepted"}]`)
	first := w.csms.next("StatusNotification", `{"connectorId":1}`)
	p.quiet()
	w.csms.idle()
	first.answer("{}")
	p.hears(`[3,"2",{}]`)
	w.csms.next("StatusNotification", `{"connectorId":2}`).answer("{}")
	p.hears(`[3,"3",{}]`)

	// What waits goes with its connection; what the service answers then goes nowhere.
	p.say(`[2,"5","Heartbeat",{}]`, `[2,"6","MeterValues",{}]`)
	late := w.csms.next("Heartbeat", "{}")
	again := w.charger("ocpp1.6", "cp")
	again.say(`[2,"5","StopTransaction",{}]`)
	w.csms.next("StopTransaction", "{}").answer(`{"n":2}`)
	again.hears(`[3,"5",{"n":2}]`)
	late.answer(`{"n":1}`)
	again.quiet()
	w.csms.idle()
	w.awaitPresence("cp", true)
	w.awaitPresence("cp", false)
	w.awaitPresence("cp", true) // these events are counted until they are taken
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		owed, _ := account.Bytes()
		if owed == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are still counted", owed)
		}
	}
}

// What is no frame is answered, and leaves the connection as it is; a binary frame does not.
func TestChargerBreaksRules(t *testing.T) {
	w := newChargerWorld(t, settings{})
	p := w.charger("ocpp2.0.1", "cp")
	for sent, want := range map[string]string{
		`hello`: `[4,"-1","RpcFrameworkError","JSON at byte 0: want '['",{}]`, `[2,"1","Heartbeat",[]]`: `[4,"1","FormatViolation","the payload is not an object",{}]`,
		`[7,"1"]`: `[4,"1","MessageTypeNotSupported","ocpp2.0.1 has no frames of type 7",{}]`, `[2,"1","a/b",{}]`: `[4,"1","NotImplemented","the action is not a word of at most 64 letters and digits",{}]`,
	} {
		p.say(sent)
		p.hears(want)
	}
	p.say(`[3,"1",[]]`, `[3,"1",{}]`, `[4,"no number","InternalError","",{}]`, `[4,"-1","InternalError","",{}]`)
	p.quiet()
	old := w.charger("ocpp1.6", "old")
	old.say(`[7,"1"]`)
	old.quiet()
	old.text = false
	old.say(`[2,"1","Heartbeat",{}]`)
	if e := old.closed(); e.Code != coder.StatusUnsupportedData || e.Reason != "ocpp1.6 uses text frames" {
		t.Error(e)
	}
	tally := w.gateway.tally()
	if f := tally.Faults; f["not_a_frame"] != 5 || f["bad_action"] != 1 || f["unexpected_answer"] != 4 {
		t.Error(f)
	}
}

// ask begins a call of a backend, and returns where its outcome comes.
func (w *chargerWorld) ask(method, payload string, timeout time.Duration) <-chan string {
	outcome := make(chan string, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		r, err := w.sessions.Call(ctx, "cp", method, []byte(payload), message.JSON)
		switch {
		case err != nil:
			outcome <- err.Error()
		case r.Err.Code != "":
			outcome <- r.Err.Error()
		default:
			outcome <- string(r.Payload)
		}
	}()
	return outcome
}

// comes asserts the outcome of a call.
func (w *chargerWorld) comes(outcome <-chan string, want string) {
	w.t.Helper()
	select {
	case got := <-outcome:
		if got != want {
			w.t.Fatalf("got %s, want %s", got, want)
		}
	case <-time.After(patience):
		w.t.Fatalf("nothing came, want %s", want)
	}
}

// takes returns the message id of the next frame, which has to be a CALL.
func (p *peer) takes(action, payload string) (id string) {
	p.t.Helper()
	frame := p.next()
	var elements []json.RawMessage
	if err := json.Unmarshal(frame, &elements); err != nil || len(elements) != 4 || string(elements[0]) != "2" ||
		string(elements[2]) != `"`+action+`"` || string(elements[3]) != payload {
		p.t.Fatalf("got %s, want a CALL of %s %s", frame, action, payload)
	}
	if err := json.Unmarshal(elements[1], &id); err != nil {
		p.t.Fatal(err)
	}
	return id
}

func TestChargerIsAsked(t *testing.T) {
	for _, version := range []string{"ocpp1.6", "ocpp2.1"} {
		w := newChargerWorld(t, settings{})
		p := w.charger(version, "cp")
		start := w.ask("RemoteStartTransaction", `{"idTag": "7"}`, patience)
		id := p.takes("RemoteStartTransaction", `{"idTag": "7"}`)

		// Meanwhile another call waits, and the charger asks.
		stop := w.ask("RemoteStopTransaction", "", patience)
		p.say(`[2,"1","AtOnce",{}]`)
		p.hears(`[3,"1",{}]`)
		p.quiet()
		p.say(`[3,"` + id + `",{"status":"Accepted"}]`)
		w.comes(start, `{"status":"Accepted"}`)
		id = p.takes("RemoteStopTransaction", "{}")
		p.say(`[4,"` + id + `","NotSupported","not today",{}]`)
		w.comes(stop, "NotSupported: not today")
		p.say(`[4,"` + id + `","NotSupported","not today",{}]`) // again
		p.quiet()

		bad := w.ask("GetConfiguration", `{"key":["a"]}`, patience)
		id = p.takes("GetConfiguration", `{"key":["a"]}`)
		p.say(`[3,"` + id + `",17]`)
		w.comes(bad, "invalid_answer: the payload is not an object")
		if version == "ocpp2.1" {
			p.hears(`[5,"` + id + `","FormatViolation","the payload is not an object",{}]`)
		}
		for method, payload := range map[string]string{"Reset": "[1]", "a b": "{}", "": "{}"} {
			if got := <-w.ask(method, payload, patience); !strings.HasPrefix(got, session.CodeNotCallable) {
				t.Errorf("%q %s: %s", method, payload, got)
			}
		}
	}
}

// A CALL that the charger does not answer gives way to the next; its late answer changes nothing.
func TestChargerDoesNotAnswer(t *testing.T) {
	w := newChargerWorld(t, settings{gateway: Config{OCPP: ocpp.Config{CallTimeout: 50 * time.Millisecond}}})
	p := w.charger("ocpp1.6", "cp")
	lost := w.ask("Reset", "{}", time.Hour)
	late := p.takes("Reset", "{}")
	next := w.ask("ClearCache", "{}", time.Hour)
	id := p.takes("ClearCache", "{}")
	p.say(`[3,"` + id + `",{"status":"Rejected"}]`)
	w.comes(next, `{"status":"Rejected"}`)
	p.say(`[3,"` + late + `",{"status":"Accepted"}]`) // its caller still waits
	w.comes(lost, `{"status":"Accepted"}`)
	w.comes(w.ask("Reset", "{}", time.Millisecond), devices.ErrNoAnswer.Error())

	cut := w.ask("Reset", `{"type":"Hard"}`, time.Hour)
	for !strings.Contains(string(p.next()), "Hard") { // behind the CALL whose caller has left
	}
	_ = p.ws.CloseNow()
	w.comes(cut, devices.ErrLost.Error())
}

// A call that waits for the answer to another is not sent once its caller has left.
func TestChargerIsNotAskedInVain(t *testing.T) {
	w := newChargerWorld(t, settings{sessions: session.Config{MaxCalls: 2}})
	p := w.charger("ocpp1.6", "cp")
	first := w.ask("GetConfiguration", "{}", time.Hour)
	id := p.takes("GetConfiguration", "{}")
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error, 1)
	go func() {
		err := devices.ErrTooManyCalls
		for errors.Is(err, devices.ErrTooManyCalls) { // the other caller was faster
			_, err = w.sessions.Call(ctx, "cp", "Reset", nil, "")
		}
		left <- err
	}()
	for end := time.Now().Add(patience); ; { // until the second call counts
		got := <-w.ask("Reset", "{}", time.Millisecond)
		if got == devices.ErrTooManyCalls.Error() {
			break
		}
		if time.Now().After(end) {
			t.Fatal(got)
		}
	}
	p.say(`[2,"1","AtOnce",{}]`)
	p.hears(`[3,"1",{}]`) // the loop has the second call
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	p.say(`[3,"` + id + `",{}]`)
	w.comes(first, "{}")
	last := w.ask("ClearCache", "{}", time.Hour)
	id = p.takes("ClearCache", "{}")
	p.say(`[3,"` + id + `",{}]`)
	w.comes(last, "{}")
}

// A command comes again with its message id on the next connection, and its answer is recorded.
func TestChargerCommand(t *testing.T) {
	commands := command.Open(command.Config{}, store.NewMemory(store.Options{}), nil, slog.Default())
	s := settings{}
	s.sessions.Commands = commands
	w := newChargerWorld(t, s)
	commands.Start(w.sessions)
	t.Cleanup(commands.Close)
	both := &commandWorld{&mqttWorld{world: w.world}, commands}
	create := func(method string) *command.Command {
		r := &command.Request{Device: "cp", Method: method, Payload: []byte(`{"n":1}`), ContentType: message.JSON}
		c, _, err := commands.Create(context.Background(), r, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := create("RemoteStartTransaction"), create("Reset")
	p := w.charger("ocpp1.6", "cp")
	id := p.takes("RemoteStartTransaction", `{"n":1}`)
	if id != fmt.Sprint(first.ID) {
		t.Errorf("message id %s, command %d", id, first.ID)
	}
	p.quiet()
	_ = p.ws.CloseNow()
	w.awaitPresence("cp", false)

	p = w.charger("ocpp1.6", "cp")
	if again := p.takes("RemoteStartTransaction", `{"n":1}`); again != id {
		t.Errorf("message id %s and then %s", id, again)
	}
	p.say(`[3,"` + id + `",{"status":"Accepted"}]`)
	done := both.becomes(first, ended)
	if string(done.Answer.Payload) != `{"status":"Accepted"}` {
		t.Errorf("%+v", done)
	}
	id = p.takes("Reset", `{"n":1}`)
	p.say(`[4,"` + id + `","NotSupported","no",{}]`)
	if done := both.becomes(second, ended); done.Answer.Err.Code != "NotSupported" {
		t.Errorf("%+v", done)
	}

	// An answer that comes on the next connection before the command does: it is not sent again.
	third, fourth := create("Reset"), create("ClearCache")
	id = p.takes("Reset", `{"n":1}`)
	_ = p.ws.CloseNow()
	w.awaitPresence("cp", false)
	p = w.charger("ocpp1.6", "cp")
	p.say(`[3,"` + fmt.Sprint(fourth.ID) + `",{}]`)
	p.takes("Reset", `{"n":1}`)
	both.becomes(fourth, ended)
	p.say(`[3,"` + id + `",{}]`)
	both.becomes(third, ended)
	p.quiet()
}

// Every frame is published, for those who listen.
func TestChargerIsOverheard(t *testing.T) {
	w := newChargerWorld(t, settings{})
	heard := w.subscribe("device/+/ocpp/#")
	p := w.charger("ocpp2.1", "cp")
	p.say(`[2,"1","Heartbeat",{}]`)
	w.csms.next("Heartbeat", "{}").answer(`{"currentTime":"now"}`)
	p.next()
	p.say(`[5,"1","FormatViolation","no time",{}]`, `[6,"2","NotifyPeriodicEventStream",{"id":1}]`)
	p.quiet()
	outcome := w.ask("Reset", `{"type":"Soft"}`, patience)
	id := p.takes("Reset", `{"type":"Soft"}`)
	p.say(`[3,"` + id + `",{"status":"Accepted"}]`)
	w.comes(outcome, `{"status":"Accepted"}`)
	wanted := []string{
		`up/Heartbeat [2,"1","Heartbeat",{}]`, `down/Heartbeat [3,"1",{"currentTime":"now"}]`,
		`up/Heartbeat [5,"1","FormatViolation","no time",{}]`, `up/NotifyPeriodicEventStream [6,"2","NotifyPeriodicEventStream",{"id":1}]`,
		`down/Reset [2,"` + id + `","Reset",{"type":"Soft"}]`, `up/Reset [3,"` + id + `",{"status":"Accepted"}]`,
	}
	for i, m := range w.take(heard, len(wanted)) {
		want := wanted[i]
		if got := strings.TrimPrefix(m.Topic, "device/cp/ocpp/") + " " + string(m.Payload); got != want || m.ContentType != message.JSON || m.QoS != 0 {
			t.Errorf("%d: got %s, want %s", i, got, want)
		}
	}
}

// A charger has no messages: what an earlier connection with another protocol has subscribed to is dropped.
func TestChargerGetsNoMessages(t *testing.T) {
	w := newChargerWorld(t, settings{})
	d := w.connect("/connect/cp")
	d.next()
	d.say(`{"op":"sub","id":1,"filters":["t"],"qos":1}`)
	d.next()
	p := w.charger("ocpp1.6", "cp")
	if _, err := w.router.Publish(&message.Message{Topic: "t", QoS: 1}, nil); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	p.say(`[2,"1","AtOnce",{}]`)
	p.hears(`[3,"1",{}]`)
	p.quiet()
}
