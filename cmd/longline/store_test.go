package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// serveData starts a gateway that keeps its data in a directory, and speaks MQTT.
func serveData(t *testing.T, dir string) *program {
	t.Helper()
	cmd := exec.Command(os.Args[0], "serve", "--insecure", "--data", dir, "--set", "log.format=json",
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return start(t, cmd, 0)
}

func (p *program) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	p.exitCode()
}

// mqttClient is a client of MQTT 3.1.1 whose session is kept.
type mqttClient struct {
	t       *testing.T
	conn    net.Conn
	decoder mqtt.Decoder
	in      []byte
}

// mqtt connects and expects to find a session, or none.
func (p *program) mqtt(id string, present bool) *mqttClient {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.mqttAddr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	c := &mqttClient{t: p.t, conn: conn, decoder: mqtt.Decoder{Version: mqtt.V4}}
	c.send(&mqtt.Packet{Type: mqtt.Connect, Connect: mqtt.Client{Version: mqtt.V4, ClientID: id, KeepAlive: 60}})
	if ack := c.expect(mqtt.Connack); ack.Reason != mqtt.Success || ack.SessionPresent != present {
		p.t.Fatalf("%s: CONNACK says %v, session present %t", id, ack.Reason, ack.SessionPresent)
	}
	return c
}

func (c *mqttClient) send(p *mqtt.Packet) {
	c.t.Helper()
	b, err := mqtt.Append(nil, mqtt.V4, p)
	if err == nil {
		_, err = c.conn.Write(b)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *mqttClient) expect(want mqtt.Type) *mqtt.Packet {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	for room := make([]byte, 4096); ; {
		p := new(mqtt.Packet)
		n, err := c.decoder.Decode(p, c.in)
		if err == nil && n > 0 {
			if c.in = c.in[n:]; p.Type != want {
				c.t.Fatalf("got %v, want %v", p.Type, want)
			}
			return p
		}
		if err == nil {
			n, err = c.conn.Read(room)
			c.in = append(append([]byte(nil), c.in...), room[:n]...)
		}
		if err != nil {
			c.t.Fatalf("want %v: %v", want, err)
		}
	}
}

// got expects a publication, and says what it was.
func (c *mqttClient) got() string {
	c.t.Helper()
	p := c.expect(mqtt.Publish)
	if p.QoS == message.AtLeastOnce {
		c.send(&mqtt.Packet{Type: mqtt.Puback, ID: p.ID})
	}
	return fmt.Sprintf("%s=%s qos %d id %d dup %t retain %t", p.Topic, p.Payload, p.QoS, p.ID, p.Dup, p.Retain)
}

func (c *mqttClient) wantNext(want ...string) {
	c.t.Helper()
	for _, want := range want {
		if got := c.got(); got != want {
			c.t.Errorf("got %s, want %s", got, want)
		}
	}
}

func (c *mqttClient) subscribe(filter string) {
	c.t.Helper()
	c.send(&mqtt.Packet{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: 2}}})
	c.expect(mqtt.Suback)
}

func (c *mqttClient) publish(topic, payload string, q message.QoS, id uint16, change func(*mqtt.Packet)) {
	c.t.Helper()
	p := &mqtt.Packet{Type: mqtt.Publish, Topic: topic, Payload: []byte(payload), QoS: q, ID: id}
	if change != nil {
		change(p)
	}
	c.send(p)
	c.expect(map[message.QoS]mqtt.Type{1: mqtt.Puback, 2: mqtt.Pubrec}[q])
}

func (c *mqttClient) leave() {
	c.send(&mqtt.Packet{Type: mqtt.Disconnect})
	_, _ = io.Copy(io.Discard, c.conn) // until the gateway has closed it
}

// jsonClient is a device that speaks JSON; its session outlives its connection.
func (p *program) json(id string, packets ...string) (next func(op string) string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	p.t.Cleanup(cancel)
	c, _, err := websocket.Dial(ctx, "ws://"+p.devices+"/connect/"+id+"?expiry=600", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.CloseNow() })
	for _, text := range packets {
		if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			p.t.Fatal(err)
		}
	}
	return func(op string) string {
		for {
			_, text, err := c.Read(ctx)
			if err != nil {
				p.t.Fatalf("%s: no %s: %v", id, op, err)
			}
			if strings.Contains(string(text), `"op":"`+op+`"`) {
				return string(text)
			}
		}
	}
}

// What was acknowledged is there after kill -9, and so are subscriptions, retained messages and packet identifiers.
func TestDataSurvivesKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := serveData(t, dir)
	away := p.mqtt("away", false)
	away.subscribe("news/#")
	away.leave()
	p.json("json-away", `{"op":"sub","id":1,"filters":["news/#"],"qos":1}`)("ack")
	exchanging := p.mqtt("exchanging", false) // has received one message of two, and said so
	exchanging.subscribe("news/#")

	publisher := p.mqtt("publisher", false)
	publisher.publish("news/a", "one", 1, 1, nil)
	publisher.publish("news/kept", "two", 1, 2, func(p *mqtt.Packet) { p.Retain = true })
	p.json("json-publisher", `{"op":"pub","id":1,"topic":"news/c","qos":1,"payload":3}`)("ack")
	publisher.publish("news/b", "four", 2, 7, nil) // PUBREL does not come before the kill
	exchanging.wantNext("news/a=one qos 1 id 1 dup false retain false", "news/kept=two qos 1 id 2 dup false retain false",
		"news/c=3 qos 1 id 3 dup false retain false", "news/b=four qos 2 id 4 dup false retain false")
	exchanging.send(&mqtt.Packet{Type: mqtt.Pubrec, ID: 4})
	exchanging.expect(mqtt.Pubrel)
	publisher.publish("other", "a fence", 1, 3, func(p *mqtt.Packet) { p.Retain = true })

	if code := p.status(p.admin + "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz is %d", code)
	}
	p.kill()
	p = serveData(t, dir)
	p.mqtt("away", true).wantNext("news/a=one qos 1 id 1 dup false retain false", "news/kept=two qos 1 id 2 dup false retain false",
		"news/c=3 qos 1 id 3 dup false retain false", "news/b=four qos 2 id 4 dup false retain false")
	next := p.json("json-away")
	for _, want := range []string{"news/a", "news/kept", "news/c", "news/b"} {
		if got := next("msg"); !strings.Contains(got, `"topic":"`+want+`"`) {
			t.Errorf("the JSON device got %s, want %s", got, want)
		}
	}
	again := p.mqtt("exchanging", true)
	if p := again.expect(mqtt.Pubrel); p.ID != 4 {
		t.Errorf("PUBREL has the identifier %d", p.ID)
	}
	again.send(&mqtt.Packet{Type: mqtt.Pubcomp, ID: 4})

	publisher = p.mqtt("publisher", true)
	publisher.publish("news/b", "four", 2, 7, func(p *mqtt.Packet) { p.Dup = true }) // is not taken for another
	publisher.send(&mqtt.Packet{Type: mqtt.Pubrel, ID: 7})
	publisher.expect(mqtt.Pubcomp)
	publisher.publish("news/d", "five", 1, 8, nil)
	again.wantNext("news/d=five qos 1 id 1 dup false retain false")

	fresh := p.mqtt("fresh", false)
	fresh.subscribe("#")
	fresh.wantNext("news/kept=two qos 1 id 1 dup false retain true", "other=a fence qos 1 id 2 dup false retain true")
	if body := p.get("/metrics"); !strings.Contains(body, "longline_store_lost_operations_total 0\n") || !strings.Contains(body, "longline_store_failing 0\n") {
		t.Error("the metrics of the store are not there")
	}
	p.signal()
	if code := p.exitCode(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

// get returns what the admin port answers.
func (p *program) get(path string) string {
	p.t.Helper()
	response, err := http.Get("http://" + p.admin + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(body)
}

// A directory has one process, and whoever comes second is told whose it is.
func TestDataInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := serveData(t, dir)
	code, _, stderr := longline(t, "serve", "--insecure", "--data", dir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	want := fmt.Sprintf("longline: store.path: store %s: %s is in use by process %d\n", dir, dir, p.cmd.Process.Pid)
	if code != exitFailed || stderr != want {
		t.Errorf("exit code %d, %q, want %q", code, stderr, want)
	}
}
