package service

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/topic"
)

// A call never comes without the device that makes it, however long its id is.
func TestLongestDevice(t *testing.T) {
	device, err := topic.DeviceID(strings.Repeat("|", 128))
	if err != nil {
		t.Fatal(err)
	}
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Longline-Device"))
	})
	s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: urls(b)}}})
	if got := s.ask(t, "billing", &Call{Device: device, Method: "authorize"}); string(got.Payload) != device {
		t.Errorf("the instance hears of device %q, want %q: %+v", got.Payload, device, got.Err)
	}
}

// A reason does not keep the large answer in memory that it was cut from.
func TestReasonIsACopy(t *testing.T) {
	answer := strings.Repeat("a", 1<<20)
	if r := CutReason(answer); unsafe.StringData(r) == unsafe.StringData(answer) {
		t.Error("the reason is a part of the answer")
	}
}

// A device whose requests break the instances does not take the service from the others.
func TestBreakerOfOneDevice(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/poison" {
			cuts(w, r)
		}
	})
	s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: urls(b)}, OpenAfter: 5, OpenFor: time.Hour}})
	good, poison := &Call{Device: "good", Method: "authorize"}, &Call{Device: "bad", Method: "poison"}
	s.ask(t, "billing", good)
	s.ask(t, "billing", &Call{Device: "bad", Method: "authorize"})
	for range 20 {
		if r := s.ask(t, "billing", poison); r.Err.Code != Failed {
			t.Fatalf("a call that breaks the connection: %+v", r.Err)
		}
	}
	if r := s.ask(t, "billing", good); r.Err.Code != "" {
		t.Errorf("another device gets %+v", r.Err)
	}
	for n := range 5 {
		s.ask(t, "billing", &Call{Device: string(rune('a' + n)), Method: "poison"})
	}
	if state := s.Get("billing").Breaker().State(); state != "open" {
		t.Errorf("the breaker is %s after failures of many devices", state)
	}
}

// Where one device alone calls, its failures are the service's.
func TestBreakerOfTheOnlyDevice(t *testing.T) {
	b := newBackend(t, cuts)
	s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: urls(b)}, OpenAfter: 5, OpenFor: time.Hour}})
	for range 5 {
		s.ask(t, "billing", &Call{Device: "m-7", Method: "authorize"})
	}
	if state := s.Get("billing").Breaker().State(); state != "open" {
		t.Errorf("the breaker is %s", state)
	}
}

// A device that waits only for a moment does not make an instance that hangs look quick.
func TestHurryIsNoLatency(t *testing.T) {
	s := openService(t, Config{Source: registry.Source{Instances: []string{nobody(t)}}})
	i, now := (*s.pool.instances.Load())[0], time.Now()
	i.observe(time.Second, now)
	s.pool.now = func() time.Time { return now }
	for range 100 {
		_ = s.pool.judge(i, now.Add(-time.Millisecond), context.DeadlineExceeded)
	}
	if l := i.info(now).Latency; l != time.Second {
		t.Errorf("the latency is %v", l)
	}
	_ = s.pool.judge(i, now.Add(-2*time.Second), context.DeadlineExceeded)
	if l := i.info(now).Latency; l != 2*time.Second {
		t.Errorf("the latency is %v after a wait of 2 s in vain", l)
	}
}

// Nor does it make a backend look bad.
func TestHurryIsNoFaultOfABackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServing(t, Config{EjectAfter: 2})
		b := s.join(8)
		for n := range 8 {
			s.begin(&Call{Device: "d", Method: "m", ID: uint64(n + 1)}, time.Millisecond, func(*Reply) {})
		}
		time.Sleep(time.Second)
		if i := s.info().Backends[0]; i.Late != 0 || i.Last {
			t.Errorf("the backend is taken to be slow: %+v", i)
		}
		b.Leave()
	})
}

// A backend that takes calls and never answers does not hold the places of the others.
func TestSilentBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServing(t, Config{Concurrency: 20, EjectAfter: 2, EjectFor: time.Minute})
		silent, good := s.join(1000), s.join(4)
		defer silent.Leave()
		defer good.Leave()
		s.calls(20)
		_, _, _ = silent.Take(t.Context(), 1000, 1<<20)
		time.Sleep(time.Minute + time.Second) // the calls end
		s.calls(20)
		if i := s.info(); i.Backends[0].UnderWay > 1 {
			t.Errorf("it has %d calls", i.Backends[0].UnderWay)
		}
		for answered := 0; answered < 19; {
			calls, _, _ := good.Take(t.Context(), 1000, 1<<20)
			for _, w := range calls {
				if err := good.Answer(w.Call.ID, &Reply{}); err == nil {
					answered++
				}
			}
		}
	})
}

// An instance that refuses a request before it has read all of it has answered: it does not look broken, whatever the device sends.
func TestRefusedWhileItIsWritten(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer l.Close()
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nLongline-Error: too_much\r\nContent-Length: 0\r\n\r\n")
			_ = c.Close()
		}
	})
	s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: []string{"http://" + l.Addr().String()}}}})
	if r := s.ask(t, "billing", &Call{Device: "m-7", Method: "authorize", Payload: make([]byte, 32<<20)}); r.Err.Code != "too_much" {
		t.Errorf("the device is told %+v", r.Err)
	}
}

// dialing fails as a dialer does at the deadline of ctx.
type dialing struct{ transport }

func (dialing) send(ctx context.Context, _ *instance, _ *Request) (*Answer, bool, error) {
	deadline, _ := ctx.Deadline()
	for time.Now().Before(deadline) {
	}
	return nil, false, os.ErrDeadlineExceeded
}

// A device that waits only for a moment ends connecting, which is no failure of the instance.
func TestHurryWhileConnecting(t *testing.T) {
	s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: []string{nobody(t)}}, OpenAfter: 1}})
	p := s.Get("billing").pool
	p.plain = dialing{p.plain}
	for range 50 {
		replies := make(chan *Reply, 1)
		s.Begin("billing", &Call{Device: "m-7", Method: "authorize"}, time.Millisecond, func(r *Reply) { replies <- r })
		if r := <-replies; r.Err.Code != Timeout && r.Err.Code != Unavailable {
			t.Fatalf("%+v", r.Err)
		}
	}
	if i := s.Get("billing").Info(); i.Breaker != "closed" || i.Instances[0].Failed != 0 {
		t.Errorf("the breaker is %s after %d failures", i.Breaker, i.Instances[0].Failed)
	}
}

// When the time of a slow backend is over, the line goes on, although the call that it has does not end.
func TestLineAfterASlowBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServing(t, Config{EjectAfter: 1, EjectFor: time.Second})
		b := s.join(4)
		id, _ := s.call("m")
		s.wantTaken(b, id)
		time.Sleep(time.Minute + time.Millisecond) // the call ends
		first := s.calls(1)
		s.calls(1)
		s.wantTaken(b, first)
		time.Sleep(2 * time.Second)
		last := s.calls(1)
		s.wantTaken(b, last-1, last)
		b.Leave()
	})
}
