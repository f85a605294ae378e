package bench

import (
	"strings"
	"testing"
)

func TestAnnounced(t *testing.T) {
	version, addr, err := announced(strings.NewReader("gws v1.8.9 on 127.0.0.1:9001\nmore\n"))
	if err != nil || version != "v1.8.9" || addr.String() != "127.0.0.1:9001" {
		t.Errorf("%q at %v, %v", version, addr, err)
	}
	if version, _, err := announced(strings.NewReader("floor on 127.0.0.1:9001\n")); err != nil || version != "" {
		t.Errorf("version %q, %v", version, err)
	}
	for _, line := range []string{"", "gws on 127.0.0.1:9001", "nonsense\n", "gws on nowhere\n"} {
		if _, addr, err := announced(strings.NewReader(line)); err == nil {
			t.Errorf("%q gave %v", line, addr)
		}
	}
}

func TestAddressesOfAGateway(t *testing.T) {
	log := "time=x level=INFO msg=opening\ntime=x level=INFO msg=listening devices=127.0.0.1:8080 admin=127.0.0.1:8081\n"
	devices, admin, err := addresses(strings.NewReader(log))
	if err != nil || devices.Port() != 8080 || admin.Port() != 8081 {
		t.Errorf("%v and %v, %v", devices, admin, err)
	}
	for _, log := range []string{"", "level=ERROR msg=no\n", "msg=listening devices=x admin=127.0.0.1:1\n", "msg=listening devices=127.0.0.1:1 admin=x\n"} {
		if _, _, err := addresses(strings.NewReader(log)); err == nil {
			t.Errorf("took %q", log)
		}
	}
}

// Stop does not kill a process that ends by the signal, and waits for it.
func TestCommandStops(t *testing.T) {
	c := Command(t.Context(), 0, "sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	Stop(c)
	if c.ProcessState == nil || c.ProcessState.String() != "signal: terminated" {
		t.Errorf("it ended with %v", c.ProcessState)
	}
}

func TestGrid(t *testing.T) {
	got := Grid{{"what", "a"}, {"idle, B", "1,000"}, {"x", "-"}}.String()
	want := "" +
		"| what    |     a |\n" +
		"|---------|------:|\n" +
		"| idle, B | 1,000 |\n" +
		"| x       |     - |\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestSpreadString(t *testing.T) {
	for want, s := range map[string]Spread{"2.00": SpreadOf(2), "2.00 (1.00-1,000)": SpreadOf(2, 1000, 1), "0.00": {}} {
		if got := s.String(); got != want {
			t.Errorf("%v: %q, want %q", s.Values, got, want)
		}
	}
}
