package topic

import (
	"fmt"
	"strings"
)

// maxDevice is the most bytes that a device may call itself by.
const maxDevice = 128

// escaped begins the device ids of what is no device id itself.
const escaped = "x:"

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
// a file: a valid id stays as it is.
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

// ValidateDevice returns an *Error when id is not 1-128 of A-Z a-z 0-9 . _ : - In one that begins with x: an escape
// counts as the byte that it stands for.
func ValidateDevice(id string) error {
	if id == "" {
		return &Error{"device id", 0, "is empty"}
	}
	length := len(id)
	if strings.HasPrefix(id, escaped) && length > maxDevice {
		length -= len(escaped) + 2*strings.Count(id[len(escaped):], ":")
	}
	if length > maxDevice {
		return &Error{"device id", 0, fmt.Sprintf("is longer than %d bytes", maxDevice)}
	}
	if !allDeviceBytes(id) {
		return &Error{"device id", 0, "has a character other than A-Z a-z 0-9 . _ : -"}
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
