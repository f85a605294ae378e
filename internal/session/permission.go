package session

import "errors"

// Permissions decide what the device of one connection may do. The session calls the methods on the loop, with valid
// and borrowed names; they must not block.
type Permissions interface {
	MayPublish(device, topic string) bool
	MaySubscribe(device, filter string) bool
	MayCall(device, service string) bool // any name

	// Credential identifies the credential with which the device connected, if other devices may use the same; 0 is
	// not counted.
	Credential() uint64
}

// credentialOf returns the credential of p, which may be nil.
func credentialOf(p Permissions) uint64 {
	if p == nil {
		return 0
	}
	return p.Credential()
}

var (
	errReserved   = errors.New("only the gateway publishes on topics that start with $")
	errNotAllowed = errors.New("the device is not allowed to use this topic")
)

// mayPublish returns why the device may not publish on a valid topic, or nil.
func mayPublish(p Permissions, device, topic string) error {
	switch {
	case topic[0] == '$':
		return errReserved
	case p != nil && !p.MayPublish(device, topic):
		return errNotAllowed
	}
	return nil
}
