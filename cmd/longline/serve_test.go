package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/config"
	"github.com/longline/longline/internal/gateway"
)

// asProgram in the environment makes this test binary the program.
const asProgram = "LONGLINE_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		layDisk()
		main()
	}
	if os.Getenv(asMount) != "" {
		os.Exit(runOnMount())
	}
	os.Exit(m.Run())
}

const patience = 30 * time.Second

// program is a gateway process with devices.
type program struct {
	t              *testing.T
	cmd            *exec.Cmd
	devices, admin string // addresses
	mqttAddr       string
	ends           chan websocket.CloseError
	log            io.Closer // the reading end of its log
}

// serve starts a gateway and connects n devices.
func serve(t *testing.T, config string, n int) *program {
	t.Helper()
	file := filepath.Join(t.TempDir(), "longline.yaml")
	if err := os.WriteFile(file, []byte("log: {format: json}\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "serve", "--config", file, "--insecure", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return start(t, cmd, n)
}

// start runs a command that is a gateway and logs JSON, and connects n devices.
func start(t *testing.T, cmd *exec.Cmd, n int) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	p := &program{t: t, cmd: cmd, ends: make(chan websocket.CloseError, n)}
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p.log = log
	context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(log)
	for p.devices == "" && lines.Scan() {
		var entry struct{ Msg, Devices, Admin, MQTT string }
		if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "listening" {
			p.devices, p.admin, p.mqttAddr = entry.Devices, entry.Admin, entry.MQTT
		}
	}
	var online sync.WaitGroup
	for i := range n {
		online.Go(func() { p.connect(ctx, i) })
	}
	online.Wait()
	return p
}

// connect connects a device, which reads until the connection ends.
func (p *program) connect(ctx context.Context, i int) {
	c, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/connect/d%d", p.devices, i), nil)
	if err != nil {
		p.t.Error(err)
		return
	}
	go func() {
		for err == nil {
			_, _, err = c.Read(ctx)
		}
		var end websocket.CloseError
		errors.As(err, &end)
		p.ends <- end
	}()
}

func (p *program) signal() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// status returns the status of a GET request.
func (p *program) status(url string, header ...string) int {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+url, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// delays waits until n connections have ended, each with a delay in its close reason, and counts the different delays.
func (p *program) delays(n int) (different int) {
	p.t.Helper()
	wanted := regexp.MustCompile(`retry after (\d+)s$`)
	seen := map[string]bool{}
	for i := range n {
		select {
		case end := <-p.ends:
			delay := wanted.FindString(end.Reason)
			if end.Code != websocket.StatusServiceRestart || delay == "" {
				p.t.Fatalf("connection %d was closed with %d %q", i, end.Code, end.Reason)
			}
			seen[delay] = true
		case <-time.After(patience):
			p.t.Fatalf("%d of %d connections were closed", i, n)
		}
	}
	return len(seen)
}

// exitCode waits for the end of the process.
func (p *program) exitCode() int {
	err := p.cmd.Wait()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		p.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// After SIGTERM the gateway closes devices at the configured rate, each with a delay of its own, and takes no new
// ones.
func TestSIGTERMDrains(t *testing.T) {
	const devices, rate = 200, 100
	p := serve(t, fmt.Sprintf("gateway: {drain_rate: %d, drain_spread: 1000s}\n", rate), devices)
	if got := p.status(p.admin + "/readyz"); got != http.StatusOK {
		t.Errorf("readyz is %d before", got)
	}
	start := time.Now()
	p.signal()
	different := p.delays(1) // the others take two seconds
	if got := p.status(p.admin + "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("readyz is %d meanwhile", got)
	}
	if got := p.status(p.devices+"/connect/late", "Connection", "Upgrade", "Upgrade", "websocket",
		"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="); got != http.StatusServiceUnavailable {
		t.Errorf("a new device gets %d", got)
	}
	if different += p.delays(devices - 1); different < devices/2 {
		t.Errorf("%d devices have %d delays", devices, different)
	}
	if took := time.Since(start); took < devices*time.Second/rate/2 {
		t.Errorf("all were closed within %v", took)
	}
	if code := p.exitCode(); code != exitDone {
		t.Errorf("exit code %d, want %d", code, exitDone)
	}
}

// A second SIGTERM ends the drain at once, and each device is still told a delay of its own.
func TestSecondSIGTERM(t *testing.T) {
	const devices = 50
	p := serve(t, "gateway: {drain_rate: 1, drain_timeout: 10m, drain_spread: 1000s}\n", devices)
	p.signal()
	different := p.delays(1)
	start := time.Now()
	p.signal()
	if different += p.delays(devices - 1); different < devices/2 {
		t.Errorf("%d devices have %d delays", devices, different)
	}
	if code := p.exitCode(); code != exitCutShort {
		t.Errorf("exit code %d, want %d", code, exitCutShort)
	}
	if took := time.Since(start); took > patience/2 {
		t.Errorf("ended after %v", took)
	}
}

// The drain cuts off streams that do not end in time, and does not fail.
func TestDrainTimeout(t *testing.T) {
	const devices = 20
	p := serve(t, "gateway: {drain_rate: 1, drain_timeout: 500ms}\n", devices)
	p.signal()
	p.delays(devices)
	if code := p.exitCode(); code != exitDone {
		t.Errorf("exit code %d, want %d", code, exitDone)
	}
}

// If a gateway cannot start, it names the port or the option that is wrong.
func TestServeErrors(t *testing.T) {
	taken := httptest.NewServer(nil)
	defer taken.Close()
	busy := taken.Listener.Addr().String()
	for _, tt := range []struct{ args, want string }{
		{"--listen " + busy + " --admin 127.0.0.1:0", "longline: device port (gateway.listen): listen on " + busy},
		{"--listen 127.0.0.1:0 --admin " + busy, "longline: admin port: listen tcp " + busy},
		{"--listen 127.0.0.1:1 --mqtt 127.0.0.1:1", `longline: gateway.mqtt.listen: "127.0.0.1:1" is also gateway.listen`},
	} {
		code, stdout, stderr := longline(t, append([]string{"serve", "--insecure"}, strings.Fields(tt.args)...)...)
		if code != exitFailed || stdout != "" || !strings.HasPrefix(stderr, tt.want) {
			t.Errorf("%s: exit %d, %q, %q; want %s", tt.args, code, stdout, stderr, tt.want)
		}
	}
}

// All layers log as the section log of the configuration says.
func TestLogIsOne(t *testing.T) {
	former := slog.Default()
	defer slog.SetDefault(former)
	dir := t.TempDir()
	tokens, file := filepath.Join(dir, "tokens"), filepath.Join(dir, "longline.yaml")
	for name, text := range map[string]string{tokens: "", file: fmt.Sprintf("log: {format: json}\napi: {tokens: %q}\n", tokens)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	log, stderr := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		args := []string{"serve", "--config", file, "--insecure", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}
		ended <- Run(ctx, args, nil, io.Discard, stderr)
		stderr.Close()
	}()
	told := false
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var entry struct{ Msg, Error string }
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			t.Errorf("%s: %v", lines.Text(), err)
		}
		switch {
		case entry.Msg == "listening":
			if err := os.WriteFile(tokens, []byte("nonsense\n"), 0o600); err != nil {
				t.Error(err)
			}
			time.AfterFunc(patience, stop)
		case strings.Contains(entry.Error, tokens):
			told = true
			stop()
		}
	}
	if code := <-ended; code != exitDone || !told {
		t.Errorf("exit code %d, told %v", code, told)
	}
}

// At SIGHUP the gateway reads files again, and no device notices. It also goes on when nobody reads its log any more.
func TestSignalsThatEndNothing(t *testing.T) {
	dir := t.TempDir()
	audit := filepath.Join(dir, "audit.log")
	p := serve(t, "api: {audit: "+audit+"}\ngateway: {drain_spread: 1s}\n", 1)
	call := func() {
		response, err := http.Post("http://"+p.admin+"/longline.v1.Gateway/Disconnect", "application/json", strings.NewReader(`{"device":"nobody"}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	call()
	if err := os.Rename(audit, audit+".1"); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		call()
		if text, _ := os.ReadFile(audit); strings.Contains(string(text), `"method":"/longline.v1.Gateway/Disconnect"`) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("after SIGHUP nothing is written to the new file")
		}
	}
	select {
	case end := <-p.ends:
		t.Fatalf("a device was closed: %v", end)
	default:
	}
	_ = p.log.Close()
	p.signal()
	if end := <-p.ends; end.Code != websocket.StatusServiceRestart {
		t.Errorf("the device sees %v", end)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("with nobody who reads the log: %v", err)
	}
}

// The audit log counts and reports a line that is cut off, and begins a new line after it.
func TestAuditThatCannotBeWritten(t *testing.T) {
	var log strings.Builder
	a, err := openAudit(filepath.Join(t.TempDir(), "audit.log"), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	name := a.name
	_ = a.file.Close()
	a.name = "/dev/full"
	if err := a.reopen(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := a.Write([]byte("lost\n")); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("a full disk: %v", err)
		}
	}
	if n := a.failures.Load(); n != 3 || strings.Count(log.String(), "cannot be written") != 1 {
		t.Errorf("%d failures, log %s", n, log.String())
	}
	a.name = name
	if _, err := a.Write([]byte("ha")); err != nil {
		t.Fatal(err)
	}
	a.torn = true
	if _, err := a.Write([]byte("whole\n")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(name); string(text) != "ha\nwhole\n" {
		t.Errorf("%q, %v", text, err)
	}
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("after\n")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(name); string(text) != "after\n" {
		t.Errorf("after a rename: %q, %v", text, err)
	}
	if err := os.RemoveAll(filepath.Dir(name)); err != nil {
		t.Fatal(err)
	}
	if n, err := a.Write([]byte("kept\n")); n != len("kept\n") || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with no place for a new file: %d bytes into the old one, %v", n, err)
	}
	_ = a.Close()
}

// Failures of an audit log on standard error are counted too.
func TestAuditThatNobodyReads(t *testing.T) {
	reader, writer := io.Pipe()
	_ = reader.Close()
	a := &auditFile{stderr: writer, log: slog.New(slog.DiscardHandler)}
	if _, err := a.Write([]byte("lost\n")); !errors.Is(err, io.ErrClosedPipe) || a.failures.Load() != 1 {
		t.Errorf("%v, %d failures", err, a.failures.Load())
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// A gateway that accepts every device, or none, warns at the start.
func TestServeWarnsOfDoors(t *testing.T) {
	for want, c := range map[string]config.Config{
		"INSECURE":                        {Gateway: gateway.Config{Insecure: true}},
		"asks devices for no credentials": {Auth: auth.Config{Order: []string{"tokens", "insecure"}}},
		"no device can connect":           {},
		"":                                {Auth: auth.Config{Order: []string{"tokens"}}},
	} {
		var log strings.Builder
		warnOfDoors(slog.New(slog.NewTextHandler(&log, nil)), &c, "127.0.0.1:1")
		if want == "" && log.Len() > 0 || !strings.Contains(log.String(), want) {
			t.Errorf("logged %q, want %q", log.String(), want)
		}
	}
}
