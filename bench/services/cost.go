package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/bench"
)

// payload is that of each call, and answer what the instance says.
var (
	payload = `{"tag":"` + strings.Repeat("0", 88) + `"}`
	answer  = `{"ok":"` + strings.Repeat("0", 88) + `"}`
)

// The processors of what is measured, and of everything else.
const (
	serverCPU = 0
	loadCPU   = 1
)

// nginxConfig begins a configuration of nginx; the folder comes four times, then what it serves.
const nginxConfig = `worker_processes 1; worker_cpu_affinity %s; daemon off; pid %s/pid; error_log stderr error; events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi;
uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi; %[3]s }
`

// startNginx starts nginx, and returns the process that does its work.
func (o *options) startNginx(ctx context.Context, name string, cpu int, address, serves string) (worker bench.Process, stop func(), err error) {
	folder, err := filepath.Abs(filepath.Join(o.Data, name))
	if err != nil {
		return 0, nil, err
	}
	mask := []string{"01", "10"}[cpu]
	file := filepath.Join(folder, "nginx.conf")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return 0, nil, err
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, mask, folder, serves), 0o644); err != nil {
		return 0, nil, err
	}
	c := exec.Command("nginx", "-c", file)
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin")
	if path, err := exec.LookPath("/usr/sbin/nginx"); err == nil {
		c = exec.Command(path, "-c", file)
	}
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := c.Start(); err != nil {
		return 0, nil, err
	}
	stop = func() { _ = c.Process.Signal(syscall.SIGTERM); _ = c.Wait() } // it says nothing new
	if err := listens(ctx, address); err != nil {
		stop()
		return 0, nil, err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", c.Process.Pid))
	if err != nil {
		stop()
		return 0, nil, err
	}
	pid, err := strconv.Atoi(strings.Fields(string(children) + " 0")[0])
	return bench.Process(pid), stop, err
}

// startGateway starts a gateway whose service echo is at an address.
func (o *options) startGateway(ctx context.Context, address, admin, instance string) (bench.Process, func(), error) {
	file := filepath.Join(o.Data, "longline.yaml")
	text := fmt.Sprintf("gateway: {listen: %q, insecure: true, loops: 1}\napi: {address: %q}\nlog: {level: warn}\nservices:\n  echo: {instances: [%q]}\n",
		address, admin, "http://"+instance)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return 0, nil, err
	}
	c := exec.Command("taskset", "-c", strconv.Itoa(serverCPU), o.Longline, "serve", "--config", file)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return 0, nil, err
	}
	stop := func() { _ = c.Process.Kill(); _ = c.Wait() }
	if err := listens(ctx, address); err != nil {
		stop()
		return 0, nil, err
	}
	return bench.Process(c.Process.Pid), stop, nil
}

// client makes one call after the other.
type client interface{ call(n int) error }

// cost measures the processor time of a call, in the gateway and in nginx, with the same instance behind them and the same calls per second.
func (o *options) cost(ctx context.Context) error {
	var addresses [4]string
	for n := range addresses {
		var err error
		if addresses[n], err = freeAddress(); err != nil {
			return err
		}
	}
	instance, proxy, gateway, admin := addresses[0], addresses[1], addresses[2], addresses[3]
	_, stop, err := o.startNginx(ctx, "instance", loadCPU, instance, fmt.Sprintf(
		`server { listen %s; location / { default_type application/json; return 200 '%s'; } }`, instance, answer))
	if err != nil {
		return err
	}
	defer stop()
	nginx, stop, err := o.startNginx(ctx, "proxy", serverCPU, proxy, fmt.Sprintf(
		`upstream u { server %s; keepalive 256; keepalive_requests 1000000000; }
server { listen %s; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } }`, instance, proxy))
	if err != nil {
		return err
	}
	defer stop()
	longline, stop, err := o.startGateway(ctx, gateway, admin, instance)
	if err != nil {
		return err
	}
	defer stop()
	if err := bench.Pin(loadCPU); err != nil {
		return err
	}
	overHTTP := func(int) (client, error) { return newHTTPClient(proxy) }
	overWebSocket := func(n int) (client, error) { return newDevice(ctx, gateway, n) }
	if o.Profile != "" {
		go o.profile(ctx, admin)
	}
	for _, rate := range []int{0, o.Rate} {
		var ofGateway, ofNginx []float64
		for range o.Reps {
			g, err := o.measure(ctx, longline, rate, overWebSocket)
			if err != nil {
				return err
			}
			n, err := o.measure(ctx, nginx, rate, overHTTP)
			if err != nil {
				return err
			}
			ofGateway, ofNginx = append(ofGateway, g), append(ofNginx, n)
		}
		g, n := bench.SpreadOf(ofGateway...), bench.SpreadOf(ofNginx...)
		what := "as many calls as it can answer"
		if rate > 0 {
			what = fmt.Sprintf("%d calls/s", rate)
		}
		show(fmt.Sprintf("%d devices, %s, payloads of 100 B both ways: gateway's CPU per call", o.Devices, what), g.Median, "us", noBar)
		show("    nginx's for the same HTTP calls", n.Median, "us", noBar)
		show("    gateway's of nginx's", g.Median/n.Median, "", costOfNginx)
	}
	return nil
}

// profile writes a CPU profile of the gateway.
func (o *options) profile(ctx context.Context, admin string) {
	a := bench.Admin{URL: "http://" + admin, Client: http.DefaultClient}
	text, err := a.Get(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(o.Duration.Seconds())))
	if err == nil {
		err = os.WriteFile(o.Profile, text, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
	}
}

// measure makes calls for a while, rate per second or as many as are answered, and returns the microseconds of processor time that a process needs per call.
func (o *options) measure(ctx context.Context, p bench.Process, rate int, open func(n int) (client, error)) (float64, error) {
	clients := make([]client, o.Devices)
	for n := range clients {
		var err error
		if clients[n], err = open(n); err != nil {
			return 0, err
		}
	}
	if _, err := o.load(ctx, clients, rate, time.Second); err != nil { // connections are made
		return 0, err
	}
	before, err := p.CPU()
	if err != nil {
		return 0, err
	}
	calls, err := o.load(ctx, clients, rate, o.Duration)
	if err != nil {
		return 0, err
	}
	after, err := p.CPU()
	return bench.Micros(after-before) / float64(calls), err
}

// load makes calls over all clients, each with one call at a time.
func (o *options) load(ctx context.Context, clients []client, rate int, d time.Duration) (calls int, err error) {
	var mu sync.Mutex
	var calling sync.WaitGroup
	step := time.Duration(0)
	if rate > 0 {
		step = time.Duration(len(clients)) * time.Second / time.Duration(rate)
	}
	begin := time.Now()
	for k, c := range clients {
		calling.Go(func() {
			n := 0
			var failed error
			for next := begin.Add(step * time.Duration(k) / time.Duration(len(clients))); time.Since(begin) < d && ctx.Err() == nil && failed == nil; next = next.Add(step) {
				if step > 0 {
					time.Sleep(time.Until(next))
				}
				failed = c.call(n)
				n++
			}
			mu.Lock()
			defer mu.Unlock()
			calls += n
			if failed != nil {
				err = failed
			}
		})
	}
	calling.Wait()
	if least := int(d.Seconds() * float64(rate) * 0.95); err == nil && calls < least {
		err = fmt.Errorf("%d calls, want %d: the machine is too slow for this rate", calls, least)
	}
	return calls, err
}

// httpClient calls through nginx as the gateway calls an instance.
type httpClient struct {
	conn net.Conn
	from *bufio.Reader
}

func newHTTPClient(address string) (*httpClient, error) {
	c, err := net.Dial("tcp", address)
	return &httpClient{c, bufio.NewReader(c)}, err
}

func (h *httpClient) call(n int) error {
	b := fmt.Appendf(nil, "POST /authorize HTTP/1.1\r\nHost: echo\r\nLongline-Device: m-7\r\nLongline-Node: 1\r\nLongline-Call: %d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		n, len(payload), payload)
	if _, err := h.conn.Write(b); err != nil {
		return err
	}
	r, err := http.ReadResponse(h.from, nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err == nil && (r.StatusCode != http.StatusOK || string(text) != answer) {
		err = fmt.Errorf("status %d, %s", r.StatusCode, text)
	}
	return err
}

// device calls through the gateway.
type device struct {
	ctx  context.Context
	conn *websocket.Conn
}

func newDevice(ctx context.Context, address string, n int) (*device, error) {
	c, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/connect/m-%d", address, n), &websocket.DialOptions{Subprotocols: []string{"longline.v1.json"}})
	if err != nil {
		return nil, err
	}
	_, _, err = c.Read(ctx) // hello
	return &device{ctx, c}, err
}

func (d *device) call(n int) error {
	id := n + 1
	if err := d.conn.Write(d.ctx, websocket.MessageText, fmt.Appendf(nil, `{"op":"call","id":%d,"service":"echo","method":"authorize","payload":%s}`, id, payload)); err != nil {
		return err
	}
	_, text, err := d.conn.Read(d.ctx)
	if err != nil {
		return err
	}
	var reply struct {
		Op      string
		ID      int
		Payload json.RawMessage
	}
	if err := json.Unmarshal(text, &reply); err != nil || reply.Op != "reply" || reply.ID != id || !bytes.Equal(reply.Payload, []byte(answer)) {
		return fmt.Errorf("a wrong reply: %s", text)
	}
	return nil
}
