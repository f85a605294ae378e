package topic

import (
	"fmt"
	"strconv"
	"strings"
)

// maxDevice is the most bytes that a device may call itself by.
const maxDevice = 128

// escaped begins the device ids of what is no device id itself.
const escaped = "x:"

var errDeviceByte = &Error{"device id", 0, "has a character other than A-Z a-z 0-9 . _ : -"}

// DeviceID is the id of a device that calls itself raw, in an MQTT client identifier, a URL or a user name: raw,
// if it is a device id. Another, and one that begins as those do that are made here, is escaped byte by byte, so that
// no two names are one device: chargers count on spaces, | and @, clients of MQTT on slashes. The
// error is an *Error.
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

// CanonicalDevice is DeviceID for those who may write either what the device calls itself or its id, such as an operator in
// a file or a backend: an id stays as it is.
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

// unescapeDevice is what escapeDevice made id of; ok is false where it made it of nothing.
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

// ValidateDevice returns an *Error when id is no device id, which is 1-128 of A-Z a-z 0-9 . _ : - What begins with x: is
// one only if DeviceID makes it of a name: so it has a bound too, and no two ids are one device's.
func ValidateDevice(id string) error {
	switch {
	case id == "":
		return &Error{"device id", 0, "is empty"}
	case !allDeviceBytes(id):
		return errDeviceByte
	case strings.HasPrefix(id, escaped):
		if _, ok := unescapeDevice(id); !ok {
			return &Error{"device id", 0, fmt.Sprintf("begins with x: and is not the escaped name, of %d bytes at the most, of a device", maxDevice)}
		}
	case len(id) > maxDevice:
		return &Error{"device id", 0, fmt.Sprintf("is longer than %d bytes", maxDevice)}
	}
	return nil
}

// ValidateDevicePrefix returns an *Error when no device id begins with s.
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
