// Package interop runs devices in several languages against one gateway, the program as it
// is shipped.
package interop

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// broker is where the scenarios of MQTT play: the gateway, or whom the flags name.
var broker struct{ tcp, ws string } // host:port

func init() {
	flag.StringVar(&broker.tcp, "broker", "", "play the scenarios of MQTT on another broker, at this `host:port`")
	flag.StringVar(&broker.ws, "broker-ws", "", "its `host:port` of MQTT over WebSocket")
}

// gateway is the one that all tests talk to.
var gateway struct {
	devices, admin string // addresses
}

func TestMain(m *testing.M) {
	code, err := serve(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

// serve builds the program, starts a gateway on ports of the kernel's choice, and stops it
// when run returns.
func serve(run func() int) (int, error) {
	dir, err := os.MkdirTemp("", "longline-interop")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	program, file := filepath.Join(dir, "longline"), filepath.Join(dir, "longline.yaml")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/longline").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("go build: %w\n%s", err, out)
	}
	if err := os.WriteFile(file, []byte("log: {format: json}\n"), 0o600); err != nil {
		return 1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "serve", "--config", file, "--insecure", "--listen", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	log, err := cmd.StderrPipe()
	if err != nil {
		return 1, err
	}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	lines := bufio.NewScanner(log)
	if err := listening(lines); err != nil {
		_ = cmd.Process.Kill()
		return 1, err
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() {
			fmt.Println(lines.Text())
		}
	}()
	code := run()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 1, err
	}
	<-drained
	if err := cmd.Wait(); err != nil {
		return 1, fmt.Errorf("the gateway after SIGTERM: %w", err)
	}
	return code, nil
}

// listening reads the gateway's log up to its addresses.
func listening(log *bufio.Scanner) error {
	for log.Scan() {
		var entry struct{ Msg, Devices, MQTT, Admin string }
		if json.Unmarshal(log.Bytes(), &entry) == nil && entry.Msg == "listening" {
			gateway.devices, gateway.admin = entry.Devices, entry.Admin
			broker.tcp, broker.ws = cmp.Or(broker.tcp, entry.MQTT), cmp.Or(broker.ws, entry.Devices)
			return nil
		}
		fmt.Println(log.Text())
	}
	return errors.Join(errors.New("the gateway ended before it was listening"), log.Err())
}
