package topic

import (
	"fmt"
	"strconv"
	"strings"
)

// maxDevice is the most bytes that the name of a device has.
const maxDevice = 128

// escaped is the prefix of device ids that DeviceID makes of names that are no ids.
const escaped = "x:"

var errDeviceByte = &Error{"device id", 0, "has a character other than A-Z a-z 0-9 . _ : -"}

// DeviceID returns the id of a device that calls itself raw, in an MQTT client identifier, a URL or a user name. If
// raw is a device id, it is the result. Any other name, and one that begins with the prefix of escaped names, is
// escaped byte by byte, so that two names never give the same id: chargers use spaces, | and @, MQTT clients use
// slashes. The error is an *Error.
func DeviceID(raw string) (string, error) {
	switch {
	case raw == "":
		return "", &Error{"device id", 0, "is empty"}
	case len(raw) > maxDevice:
		return "", &Error{"device id", 0, fmt.Sprintf("is longer than %d bytes", maxDevice)}
	case allDeviceBytes(raw) && !strings.HasPrefix(raw, escaped):
		return strings.Clone(raw), nil
	}
	return escapeDevice(raw), nil
}

// SpaceOf returns the device in whose own space, device/{id}/..., a topic or a filter is. It is a view of s; it is empty if s is in no
// device's own space. Whether the id is one, it does not say.
func SpaceOf(s string) (device string) {
	rest, ok := strings.CutPrefix(s, "device/")
	if !ok {
		return ""
	}
	device, _, ok = strings.Cut(rest, "/")
	if !ok || device == "+" || device == "#" {
		return ""
	}
	return device
}

// CanonicalDevice is DeviceID for texts that may be either the name of a device or its id, such as those that an operator writes into
// a file or a backend sends: an id stays as it is.
func CanonicalDevice(s string) (string, error) {
	if ValidateDevice(s) == nil {
		return s, nil
	}
	return DeviceID(s)
}

// escapeDevice writes ':' and two hexadecimal digits for each byte that is not a letter, a
// digit, '.', '_' or '-'.
func escapeDevice(raw string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.WriteString(escaped)
	for _, c := range []byte(raw) {
		if c == ':' || !deviceByte(c) {
			b.Write([]byte{':', digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unescapeDevice returns the name that escapeDevice made id of; ok is false if there is none.
func unescapeDevice(id string) (raw string, ok bool) {
	var b strings.Builder
	rest := id[len(escaped):]
	for i := 0; i < len(rest); i++ {
		if rest[i] != ':' {
			b.WriteByte(rest[i])
			continue
		}
		if i+2 >= len(rest) {
			return "", false
		}
		c, err := strconv.ParseUint(rest[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	again, err := DeviceID(b.String())
	return b.String(), err == nil && again == id
}

// ValidateDevice returns an *Error unless id is a device id: 1-128 of A-Z a-z 0-9 . _ : - An id that begins with x: must be
// one that DeviceID makes of a name, so that its length is bounded too, and no device has two ids.
func ValidateDevice(id string) error {
	switch {
	case id == "":
		return &Error{"device id", 0, "is empty"}
	case !allDeviceBytes(id):
		return errDeviceByte
	case strings.HasPrefix(id, escaped):
		if _, ok := unescapeDevice(id); !ok {
			return &Error{"device id", 0, fmt.Sprintf("begins with x: but is not an escaped name of at most %d bytes", maxDevice)}
		}
	case len(id) > maxDevice:
		return &Error{"device id", 0, fmt.Sprintf("is longer than %d bytes", maxDevice)}
	}
	return nil
}

// ValidateDevicePrefix returns an *Error if no device id begins with s.
func ValidateDevicePrefix(s string) error {
	if longest := len(escaped) + 3*maxDevice; len(s) > longest {
		return &Error{"device id", 0, fmt.Sprintf("is longer than %d bytes", longest)}
	}
	if !allDeviceBytes(s) {
		return errDeviceByte
	}
	return nil
}

func allDeviceBytes(s string) bool {
	for i := range len(s) {
		if !deviceByte(s[i]) {
			return false
		}
	}
	return true
}

func deviceByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '.' || c == '_' || c == ':' || c == '-'
}
