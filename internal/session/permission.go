package session

import "errors"

// Permissions decide what the device of one connection may do. The methods are called on
// the loop, with valid and borrowed names, and must not block.
type Permissions interface {
	MayPublish(device, topic string) bool
	MaySubscribe(device, filter string) bool

	// Credential names what let the device in, if others may have been let in by the same; 0 is nothing that is counted.
	Credential() uint64
}

// credentialOf is that of permissions, which may be nil.
func credentialOf(p Permissions) uint64 {
	if p == nil {
		return 0
	}
	return p.Credential()
}

var (
	errReserved   = errors.New("topics that start with $ are the gateway's own")
	errNotAllowed = errors.New("the device is not allowed to use this topic")
)

// mayPublish returns why a device may not publish to a valid topic, or nil.
func mayPublish(p Permissions, device, topic string) error {
	switch {
	case topic[0] == '$':
		return errReserved
	case p != nil && !p.MayPublish(device, topic):
		return errNotAllowed
	}
	return nil
}
