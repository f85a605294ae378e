//go:build servers

package servers

import (
	"os/exec"
	"strings"
	"testing"
)

// What a Mosquitto retains is there when it was killed and restarted.
func TestMosquitto(t *testing.T) {
	m := StartMosquitto(t)
	run := func(program string, arguments ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), program, arguments...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("mosquitto_pub", "-L", m.TCP()+"/a", "-q", "1", "-r", "-m", "kept")
	for range 2 {
		if got := run("mosquitto_sub", "-L", m.TCP()+"/a", "-C", "1", "-W", "20"); got != "kept" {
			t.Errorf("it has %q", got)
		}
		m.Kill()
		m.Restart()
	}
}
