package gateway

import (
	"strings"

	"github.com/longline/longline/internal/topic"
)

// escaped begins the device ids of client identifiers that are no device ids themselves.
const escaped = "x:"

// mqttDeviceID is the device that a client identifier names: itself, if it is a device id.
// Another one, and one that begins as those do that are made here, is escaped byte by byte, so
// that no two name one device. MQTT 5 §3.1.3.1 leaves it to the server what it accepts beyond
// letters and digits [MQTT-3.1.3-5]; clients count on spaces and more. The error is a
// *topic.Error.
func mqttDeviceID(client string) (string, error) {
	if topic.ValidateDevice(client) == nil && !strings.HasPrefix(client, escaped) {
		return strings.Clone(client), nil
	}
	id := escapeDevice(client)
	return id, topic.ValidateDevice(id)
}

// escapeDevice writes ':' and two hexadecimal digits for each byte that is not a letter, a
// digit, '.', '_' or '-'.
func escapeDevice(client string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.WriteString(escaped)
	for _, c := range []byte(client) {
		if c == ':' || topic.ValidateDevice(string(rune(c))) != nil {
			b.Write([]byte{':', digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
