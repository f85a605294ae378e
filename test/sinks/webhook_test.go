//go:build servers || long

package sinks

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/internal/sink/webhook"
)

// A receiver in Python, as docs/queues.md has one.
func TestWebhook(t *testing.T) {
	dir := t.TempDir()
	var process *exec.Cmd
	end := func(testing.TB) {
		if process != nil {
			_ = process.Process.Kill()
			_ = process.Wait()
			process = nil
		}
	}
	t.Cleanup(func() { end(t) })
	sinktest.Run(t, sinktest.Server{
		Start: func(t testing.TB, _ string) string {
			process = exec.Command("python3", "receiver.py", dir, "sesame")
			process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			out, err := process.StdoutPipe()
			if err == nil {
				err = process.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			port, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			return net.JoinHostPort("127.0.0.1", strings.TrimSpace(port))
		},
		Kill: end,
		Open: func(t testing.TB, proxy, where string, o pump.Options) pump.Target {
			c := webhook.Config{
				URL: "http://" + proxy + "/" + where, Timeout: time.Second, Gzip: true,
				Secret: setting.NewSecret("new"), SecondSecret: setting.NewSecret("sesame"),
			}.WithDefaults()
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			to, err := webhook.Open(c, options(o))
			if err != nil {
				t.Fatal(err)
			}
			return to
		},
		Read: func(t testing.TB, where string) [][]byte {
			text, err := os.ReadFile(filepath.Join(dir, where))
			if err != nil {
				t.Fatal(err)
			}
			return bytes.Split(bytes.TrimSuffix(text, []byte{'\n'}), []byte{'\n'})
		},
		Bad: []byte(`"bad"`),
	})
}
