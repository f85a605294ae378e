package session

import "errors"

// Permissions decide what the device of one connection may do. Both methods are called on
// the loop, with valid and borrowed names, and must not block.
type Permissions interface {
	MayPublish(topic string) bool
	MaySubscribe(filter string) bool
}

var (
	errReserved   = errors.New("topics that start with $ are the gateway's own")
	errNotAllowed = errors.New("the device is not allowed to use this topic")
)

// mayPublish returns why nothing may be published to a valid topic, or nil.
func mayPublish(p Permissions, topic string) error {
	switch {
	case topic[0] == '$':
		return errReserved
	case p != nil && !p.MayPublish(topic):
		return errNotAllowed
	}
	return nil
}
