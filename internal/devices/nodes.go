package devices

import (
	"errors"
	"time"
)

// ErrNodeAway is wrapped by the error of a request to a node that is not there, or does not answer.
var ErrNodeAway = errors.New("the node does not answer")

// NodeState says what a node of the cluster does. The numbers are those of the API.
type NodeState uint8

// The states.
const (
	NodeUp       NodeState = 1 + iota // takes devices
	NodeDraining                      // takes none, and moves those that it has
	NodeDead                          // has not renewed its lease
)

// Node describes a node of the cluster at one moment.
type Node struct {
	Name      string
	Life      uint64
	State     NodeState
	Version   string
	Addresses []string      // where devices reach it: URLs, mqtt://HOST:PORT for MQTT
	Devices   int           // sessions
	Load      float64       // 0 to 1: how much of what it can do is in use
	Age       time.Duration // since it renewed its lease, by Redis' clock
	Self      bool          // it is this node
}
