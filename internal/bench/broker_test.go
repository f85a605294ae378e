package bench

import "testing"

func TestMosquittoVersion(t *testing.T) {
	for help, want := range map[string]string{"mosquitto version 2.0.11\n\nmosquitto is": "2.0.11", "mosquitto version 2.1.2": "2.1.2", "": "", "no\n": ""} {
		if got := mosquittoVersion(help); got != want {
			t.Errorf("%q: %q, want %q", help, got, want)
		}
	}
}
