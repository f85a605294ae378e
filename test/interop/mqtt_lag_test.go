package interop

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	lagPublishers = 25              // per version
	lagMessages   = 400             // per publisher of 3.1.1
	lagPadding    = 4 << 10         // approximate bytes of a payload
	lagHeld       = 64 + 2*buffered // messages that the queue of lagConfig and the subscriber hold
	lagMemory     = 24 << 20        // bytes by which the gateway may grow: half of what the publishers send
	quotaExceeded = 0x97            // MQTT 5 §3.4.2.1
	lagConfig     = `
store: {queue: {count: 64}}
router: {max_wait: 1s}
`
)

// TestLag: a subscriber stops reading while fifty clients publish to it. The gateway slows those of MQTT 5
// and then refuses them; it goes on slowing those of 3.1.1, because it cannot refuse them. When the subscriber reads again,
// every acknowledged message arrives. The gateway's memory stays bounded.
func TestLag(t *testing.T) {
	gateway, err := serve(program, t.TempDir(), lagConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := gateway.stop(); err != nil {
			t.Error(err)
		}
	})
	s := newScene(t, gateway.mqtt, pahoClient{})
	topic := s.topic("meter")
	slow := s.listen("slow", topic, 1) // it reads only as much as its buffer holds, until the test receives
	before := resident(t, gateway)

	acknowledged := &ledger{payloads: make(map[string]bool)}
	var five, three sync.WaitGroup
	for n := range lagPublishers {
		five.Go(func() { s.untilRefused(fmt.Sprint("five-", n), topic, acknowledged) })
		three.Go(func() { s.flood(fmt.Sprint("three-", n), topic, acknowledged) })
	}
	five.Wait() // all were refused
	if n := acknowledged.count(""); n > lagHeld {
		t.Errorf("%d messages were acknowledged, more than there is room for", n)
	}
	grown := resident(t, gateway) - before
	t.Logf("acknowledged: %d; the gateway grew by %d bytes", acknowledged.count(""), grown)
	if grown > lagMemory {
		t.Errorf("the gateway grew by %d bytes", grown)
	}

	var end sync.WaitGroup
	end.Go(func() {
		three.Wait()
		s.say(message{Topic: topic, QoS: 1}, "end")
	})
	came := make(map[string]bool)
	for !came["end"] {
		came[plain(receive(s.ctx, t, "the end", slow.messages).Payload)] = true
	}
	end.Wait()
	if n := acknowledged.count("three"); n != lagPublishers*lagMessages {
		t.Errorf("%d of the messages of 3.1.1 were acknowledged", n)
	}
	for payload := range acknowledged.payloads {
		if !came[payload] {
			t.Errorf("%s was acknowledged and did not come", payload)
		}
	}
}

// resident returns the resident memory of a gateway, in bytes.
func resident(t *testing.T, s *server) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1]) // proc_pid_statm(5)
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// ledger records which payloads were acknowledged. Safe from any goroutine.
type ledger struct {
	mu       sync.Mutex
	payloads map[string]bool
}

func (l *ledger) add(payload string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.payloads[payload] = true
}

// count returns how many payloads have a prefix.
func (l *ledger) count(prefix string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.payloads {
		if strings.HasPrefix(p, prefix) {
			n++
		}
	}
	return n
}

// padded returns a payload of lagPadding bytes that begins with a name.
func padded(name string, n int) string {
	return fmt.Sprint(name, "-", n, strings.Repeat(".", lagPadding))
}

// plain returns a payload without its padding.
func plain(payload string) string { return strings.TrimRight(payload, ".") }

// untilRefused publishes with MQTT 5 until it is refused.
func (s *scene) untilRefused(name, topic string, acknowledged *ledger) {
	d := s.session(name)
	c := dialPaho(s.ctx, s.t, &d, nil)
	for n := 0; ; n++ {
		payload := padded(name, n)
		answer, err := c.Publish(s.ctx, (&message{Topic: topic, QoS: 1}).paho(payload))
		switch {
		case err == nil:
			acknowledged.add(plain(payload))
		case answer != nil && answer.ReasonCode == quotaExceeded:
			return
		default:
			s.t.Errorf("%s: %v", name, err)
			return
		}
	}
}

// flood publishes with 3.1.1 as fast as the connection allows, and ends when every message is
// acknowledged. The n-th line of its input has packet identifier n.
func (s *scene) flood(name, topic string, acknowledged *ledger) {
	d := s.session(name)
	line := append(d.mosquitto("mosquitto_pub", mqtt311), "-t", topic, "-q", "1", "-l", "-d", "-M", "65535")
	cmd := childProcess(s.ctx, append([]string{"stdbuf", "-oL"}, line...))
	var input strings.Builder
	for n := range lagMessages {
		fmt.Fprintln(&input, padded(name, n))
	}
	cmd.Stdin = strings.NewReader(input.String())
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Error(err)
		return
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if _, ack, ok := strings.Cut(lines.Text(), "received PUBACK (Mid: "); ok {
			id, _, _ := strings.Cut(ack, ",")
			n, _ := strconv.Atoi(id)
			acknowledged.add(fmt.Sprint(name, "-", n-1))
		}
	}
	if err := cmd.Wait(); err != nil {
		s.t.Errorf("%s: %v", name, err)
	}
}
