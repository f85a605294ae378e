package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// eventually waits until the admin port says what is wanted.
func (p *program) eventually(path string, want ...string) {
	p.t.Helper()
	var body string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		body = p.get(path)
		missing := false
		for _, w := range want {
			missing = missing || !strings.Contains(body, w)
		}
		if !missing {
			return
		}
	}
	if path == "/metrics" {
		body = ""
	}
	p.t.Fatalf("%s does not say %q: %s", path, want, body)
}

// offer publishes by the API, with QoS 1 and to be retained, and reports whether it is acknowledged.
func (p *program) offer(topic string, payload []byte) (bool, string) {
	p.t.Helper()
	client := http.Client{Timeout: patience}
	body := fmt.Sprintf(`{"message":{"topic":%q,"payload":"%s","qos":1,"retain":true}}`, topic, encode(payload))
	response, err := client.Post("http://"+p.admin+"/longline.v1.Gateway/Publish", "application/json", strings.NewReader(body))
	if err != nil {
		return false, err.Error()
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return response.StatusCode == http.StatusOK, string(text)
}

// acknowledged are publications of a device, which goes on until one is refused; the gateway then closes an MQTT 3.1.1 connection.
func (c *mqttClient) publishUntilRefused(topic string, size, most int) (acknowledged int) {
	c.t.Helper()
	payload := string(bytes.Repeat([]byte{'x'}, size))
	for ; acknowledged < most; acknowledged++ {
		p := &mqtt.Packet{Type: mqtt.Publish, Topic: fmt.Sprint(topic, acknowledged), Payload: []byte(payload), QoS: message.AtLeastOnce, ID: 1, Retain: true}
		b, err := mqtt.Append(nil, mqtt.V4, p)
		if err != nil {
			c.t.Fatal(err)
		}
		if _, err = c.conn.Write(b); err != nil {
			return acknowledged
		}
		if !c.acked() {
			return acknowledged
		}
	}
	return acknowledged
}

// acked reports whether a PUBACK comes, before the connection ends.
func (c *mqttClient) acked() bool {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	for room := make([]byte, 4096); ; {
		p := new(mqtt.Packet)
		n, err := c.decoder.Decode(p, c.in)
		if err == nil && n > 0 {
			c.in = c.in[n:]
			return p.Type == mqtt.Puback
		}
		if err == nil {
			n, err = c.conn.Read(room)
			c.in = append(append([]byte(nil), c.in...), room[:n]...)
		}
		if err != nil {
			return false
		}
	}
}

// retained returns how many topics with a prefix are retained.
func (p *program) retained(prefix string, count int) {
	p.t.Helper()
	c := p.mqtt(fmt.Sprint("reader-", time.Now().UnixNano()), false)
	c.subscribe(prefix + "#")
	for n := range count {
		if got := c.expect(mqtt.Publish); !got.Retain {
			p.t.Fatalf("message %d is not a retained one", n)
		} else if got.QoS > 0 {
			c.send(&mqtt.Packet{Type: mqtt.Puback, ID: got.ID})
		}
	}
}

// A file system that fills up: messages are refused before it is full, and where the reserve is too small, when a write finds no space.
// /readyz and metrics say it. When there is space again, they are taken, and all that was acknowledged is there after a kill.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, reserve := range []string{"16MiB", "1"} {
		t.Run("reserve "+reserve, func(t *testing.T) {
			fs := newSmall(t, 230<<20)
			p := fs.serve("--set", "store.reserve="+reserve, "--set", "store.retained.per_device=100")
			p.eventually("/readyz", "store ok")
			publisher := p.mqtt("publisher", false)
			if n := publisher.publishUntilRefused("a/", 1000, 10); n != 10 {
				t.Fatalf("%d of 10 are acknowledged", n)
			}
			p.eventually("/metrics", "longline_store_segments 1\n")
			waitForSpare(t, p)
			fs.do("fill")
			n := 0
			if reserve == "1" {
				// The state makes room when it removes a file, for so long as it takes to fill it again.
				for round := 0; !p.refusesAll(fmt.Sprint("device-", round)); round++ {
					more := p.mqtt("publisher", true).publishUntilRefused(fmt.Sprint("b/", round, "/"), 200<<10, 1200-n)
					if n += more; n == 1200 {
						t.Fatal("the disk does not fill up")
					}
				}
				if n == 0 {
					t.Error("a disk that has room refuses messages")
				}
			} else {
				p.eventually("/readyz", "store failed: no room: the file system of store.path has", "store.reserve is 16 MiB")
				p.eventually("/metrics", "longline_store_full 1\n")
			}
			if reserve != "1" && !p.refusesAll("device") {
				t.Error("a full disk does not make the gateway refuse messages")
			}
			p.eventually("/metrics", `longline_messages_dropped_total{reason="store"}`)

			fs.do("empty")
			p.eventually("/readyz", "store ok")
			publisher = p.mqtt("publisher", true)
			if n := publisher.publishUntilRefused("c/", 1000, 10); n != 10 {
				t.Errorf("with space again, %d of 10 are acknowledged", n)
			}
			fs.do("kill")
			p = fs.serve("--set", "store.reserve="+reserve)
			p.retained("a/", 10)
			p.retained("b/", n)
			p.retained("c/", 10)
			p.eventually("/metrics", "longline_store_lost_operations_total 0\n")
		})
	}
}

// refusesAll reports whether the store fails, and so do a backend's publication and a device's, with reasons.
func (p *program) refusesAll(device string) bool {
	p.t.Helper()
	if !strings.Contains(p.get("/readyz"), "store failed: ") || p.status(p.admin+"/readyz") != http.StatusServiceUnavailable {
		return false
	}
	if ok, text := p.offer("refused", []byte("x")); ok || !strings.Contains(text, "the store fails") {
		return false
	}
	answer := p.json(device, `{"op":"pub","id":1,"topic":"refused","qos":1,"retain":true,"payload":3}`)("ack")
	return strings.Contains(answer, `"error"`) && strings.Contains(p.get("/metrics"), "longline_store_failing 1\n")
}

// waitForSpare waits until the journal has its second segment, so that what is left for others is known.
func waitForSpare(t *testing.T, p *program) {
	t.Helper()
	p.eventually("/metrics", "longline_store_journal_bytes 1.34217728e+08\n")
}

// A gateway is started on a file system that is read-only.
func TestReadOnlyDiskAtStart(t *testing.T) {
	t.Parallel()
	fs := newSmall(t, 230<<20)
	fs.serve("--set", "store.reserve=1")
	fs.do("kill")
	fs.do("readonly")
	answer := fs.do("try", "serve", "--insecure", "--data", filepath.Join(fs.dir, "data"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if !strings.HasPrefix(answer, "1 ") || !strings.Contains(answer, "store.path: store "+fs.dir) || !strings.Contains(answer, "read-only file system") {
		t.Errorf("the gateway ends with %s", answer)
	}
}

// A gateway that is started on a full file system ends with the reason, and starts when there is space again.
func TestFullDiskAtStart(t *testing.T) {
	t.Parallel()
	fs := newSmall(t, 230<<20)
	p := fs.serve("--set", "store.reserve=1")
	p.mqtt("publisher", false).publish("kept/1", "one", 1, 1, func(p *mqtt.Packet) { p.Retain = true })
	waitForSpare(t, p)
	fs.do("fill all")
	fs.do("kill")
	answer := fs.do("try", "serve", "--insecure", "--data", filepath.Join(fs.dir, "data"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if !strings.HasPrefix(answer, "1 ") || !strings.Contains(answer, "store.path: store "+fs.dir) || !strings.Contains(answer, "no space left on device") || strings.Contains(answer, "goroutine") {
		t.Errorf("the gateway ends with %s", answer)
	}
	fs.do("empty")
	fs.serve("--set", "store.reserve=1").retained("kept/", 1)
}

// serveOnLayer starts a gateway on a disk that a test can make fail, and returns how.
func serveOnLayer(t *testing.T, dir string, args ...string) (p *program, behave func(how string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "layer")
	behave = func(how string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(how), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	behave("well")
	args = append([]string{"serve", "--insecure", "--data", dir, "--set", "log.format=json", "--set", "store.reserve=1",
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"}, args...)
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", layerFile+"="+file)
	return start(t, cmd, 0), behave
}

// A disk that becomes read-only while the gateway runs, by a layer, and one on which the kernel refuses every write.
func TestDiskThatRefusesWrites(t *testing.T) {
	t.Parallel()
	for name, why := range map[string]string{
		"EROFS": "read-only file system", "limit": "file too large",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			p, behave := serveOnLayer(t, dir)
			if name == "limit" {
				behave = func(how string) { p.limitFiles(how != "well") }
			}
			away := p.mqtt("away", false)
			away.subscribe("news/#")
			away.leave()
			publisher := p.mqtt("publisher", false)
			publisher.publish("news/1", "one", 1, 1, nil)
			waitForSpare(t, p)

			behave(name)
			p.json("device", `{"op":"pub","id":1,"topic":"news/2","qos":1,"payload":2}`)("ack")
			p.eventually("/readyz", "store failed: ", why)
			p.eventually("/metrics", "longline_store_failing 1\n")
			if ok, text := p.offer("news/3", []byte("x")); ok || !strings.Contains(text, why) {
				t.Errorf("a publication by the API: %s", text)
			}
			behave("well")
			p.eventually("/readyz", "store ok")
			p.mqtt("publisher", true).publish("news/4", "four", 1, 2, nil)
			p.kill()

			p = serveData(t, dir)
			away = p.mqtt("away", true)
			for want := []string{"news/1", "news/4"}; len(want) > 0; {
				got := away.got() // what was refused may have been kept all the same
				if strings.HasPrefix(got, want[0]+"=") {
					want = want[1:]
				}
			}
		})
	}
}

// limitFiles has the kernel refuse every write to a file, or end that.
func (p *program) limitFiles(on bool) {
	p.t.Helper()
	limit := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if on {
		limit.Cur = 0
	}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		p.t.Fatal(err)
	}
}

// While a disk is slow nobody is told what is not true: publishers wait, /readyz says why, and all goes on when the disk does.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	p, behave := serveOnLayer(t, filepath.Join(t.TempDir(), "data"))
	p.mqtt("other", false).subscribe("news")
	publisher := p.mqtt("publisher", false)
	publisher.publish("news", "one", 1, 1, nil)
	behave("slow")
	publisher.send(&mqtt.Packet{Type: mqtt.Publish, Topic: "news", Payload: []byte("two"), QoS: 1, ID: 2})
	p.eventually("/readyz", "store failed: the disk is slow: a sync has taken", "publishers wait for it")
	_ = publisher.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, _ := publisher.conn.Read(make([]byte, 100)); n > 0 {
		t.Error("a publication is acknowledged before its sync")
	}
	behave("well")
	publisher.expect(mqtt.Puback)
	p.eventually("/readyz", "store ok")
	p.signal()
	if code := p.exitCode(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

// While the first disk hangs, publishers get their answers by the second one; what was acknowledged there is found by a start, which is refused
// without the second directory.
func TestSecondPath(t *testing.T) {
	t.Parallel()
	dir, second := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "second")
	set := []string{"--set", "store.second_path=" + second, "--set", "store.stall=200ms"}
	p, behave := serveOnLayer(t, dir, set...)
	away := p.mqtt("away", false)
	away.subscribe("news/#")
	away.leave()
	publisher := p.mqtt("publisher", false)
	publisher.publish("news/1", "one", 1, 1, nil)
	p.eventually("/metrics", "longline_store_journal_bytes 2.01326592e+08\n") // both have a spare
	behave("slow")
	for n := range 20 {
		publisher.publish("news/2", fmt.Sprint(n), 1, 2, nil)
	}
	p.eventually("/readyz", "store ok")
	p.eventually("/metrics", "longline_store_on_second_path 1\n", "longline_store_stalls_total 1\n")
	p.kill()

	if err := os.Rename(second, second+".away"); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"serve", "--insecure", "--data", dir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, set...)
	if code, _, stderr := longline(t, args...); code != exitFailed || !strings.Contains(stderr, second+" is not the second directory of this store, or is not mounted") {
		t.Errorf("without the second directory: exit code %d, %s", code, stderr)
	}
	if err := os.Rename(second+".away", second); err != nil {
		t.Fatal(err)
	}
	p, behave = serveOnLayer(t, dir, set...)
	away = p.mqtt("away", true)
	for n := range 21 {
		want := "news/1=one"
		if n > 0 {
			want = fmt.Sprint("news/2=", n-1)
		}
		if got := away.got(); !strings.HasPrefix(got, want+" ") {
			t.Fatalf("message %d is %s, want %s", n, got, want)
		}
	}
	publisher = p.mqtt("publisher", true)
	publisher.publish("news/3", "three", 1, 3, nil)
	behave("slow")
	publisher.publish("news/4", "four", 1, 4, nil)
	p.eventually("/metrics", "longline_store_on_second_path 1\n")
	behave("well")
	for n := 0; strings.Contains(p.get("/metrics"), "longline_store_on_second_path 1\n"); n++ {
		publisher.publish("kept", "five", 1, 5, func(p *mqtt.Packet) { p.Retain = true }) // fills no queue
	}
}

// Changes that the disk has spoilt are told in metrics and by the API, with the devices of those beside them; the rest is there.
func TestSpoiltJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := serveData(t, dir)
	for _, device := range []string{"first-device", "second-device", "third-device"} {
		p.mqtt(device, false).subscribe("news/#")
	}
	p.kill()
	segment := filepath.Join(dir, "journal", "00000001.segment")
	text, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	for from := 0; ; { // all that is of the device
		at := bytes.Index(text[from:], []byte("second-device"))
		if at < 0 {
			break
		}
		text[from+at] ^= 1
		from += at + 1
	}
	if err := os.WriteFile(segment, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p = serveData(t, dir)
	response, err := http.Post("http://"+p.admin+"/longline.v1.Gateway/GetStore", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var said struct {
		Durable bool
		Lost    []struct {
			First, Last  string
			DeviceBefore string `json:"device_before"`
			DeviceAfter  string `json:"device_after"`
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&said); err != nil {
		t.Fatal(err)
	}
	if !said.Durable || len(said.Lost) != 1 || said.Lost[0].DeviceBefore != "first-device" || said.Lost[0].DeviceAfter != "third-device" {
		t.Errorf("GetStore: %+v", said)
	}
	if body := p.get("/metrics"); strings.Contains(body, "longline_store_lost_operations_total 0\n") {
		t.Error("the metric says that nothing is lost")
	}
	p.mqtt("first-device", true)
	p.mqtt("second-device", false)
	p.mqtt("third-device", true)
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
