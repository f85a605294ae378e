package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// listening reads the gateway's log up to its addresses, and has the rest thrown away, but
// what is worse than information.
func (g *gateway) listening(log io.Reader) error {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var entry struct{ Msg, Devices, MQTT, Admin string }
		if json.Unmarshal(lines.Bytes(), &entry) != nil || entry.Msg != "listening" {
			fmt.Fprintln(os.Stderr, lines.Text())
			continue
		}
		g.targets.Devices, g.targets.MQTT, g.targets.Admin = entry.Devices, entry.MQTT, entry.Admin
		go relay(lines)
		return nil
	}
	return errors.Join(errors.New("the gateway ended before it was listening"), lines.Err())
}

// relay shows warnings and errors, until the process ends.
func relay(lines *bufio.Scanner) {
	for lines.Scan() {
		var entry struct{ Level string }
		if json.Unmarshal(lines.Bytes(), &entry) != nil || entry.Level != "INFO" {
			fmt.Fprintln(os.Stderr, lines.Text())
		}
	}
}
