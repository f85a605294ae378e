//go:build servers || long

package registries

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a gateway process.
type process struct {
	cmd                  *exec.Cmd
	devices, mqtt, admin string // its addresses
}

func (g *process) url() string { return "http://" + g.devices }

// id is that of the gateway in registries which want one.
func (g *process) id() string { return "longline-" + strings.ReplaceAll(g.devices, ":", "-") }

// startGateway starts a gateway with this configuration, on ports that the kernel chooses. It is killed at the end of the test.
func startGateway(t *testing.T, config string) *process {
	t.Helper()
	file := filepath.Join(t.TempDir(), "longline.yaml")
	if err := os.WriteFile(file, []byte("log: {format: json}\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	const free = "127.0.0.1:0"
	g := &process{cmd: exec.Command(program(t), "serve", "--config", file, "--listen", free, "--mqtt", free, "--admin", free)}
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := g.cmd.StderrPipe()
	if err == nil {
		err = g.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	type addresses struct{ Msg, Devices, MQTT, Admin string }
	listening := make(chan addresses, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var entry addresses
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "listening" {
				listening <- entry
			}
			fmt.Println(lines.Text())
		}
	}()
	t.Cleanup(func() {
		_ = g.cmd.Process.Kill()
		<-read
		_ = g.cmd.Wait()
	})
	select {
	case at := <-listening:
		g.devices, g.mqtt, g.admin = at.Devices, at.MQTT, at.Admin
	case <-read:
		t.Fatal("the gateway has ended")
	case <-time.After(time.Minute):
		t.Fatal("the gateway does not start")
	}
	return g
}

// built is the name of the program, once it is built.
var built string

// program builds the gateway, once.
func program(t *testing.T) string {
	t.Helper()
	if built == "" {
		dir, err := os.MkdirTemp("", "longline")
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, "longline")
		if out, err := exec.Command("go", "build", "-o", name, "../../cmd/longline").CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		built = name
	}
	return built
}
