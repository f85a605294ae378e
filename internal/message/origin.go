package message

// Origin tells where a message comes from. Who makes a message sets Via; the router of the node that takes it sets
// Node.
type Origin struct {
	Node uint16 // the number of the node that took it; 0 until one has
	Via  Via
}

// Via is the way by which a message came to its node. Records keep the numbers.
type Via uint8

const (
	ViaUnknown Via = 0
	ViaDevice  Via = 1 // a device published it; Source names the device
	ViaAPI     Via = 2 // a backend did
	ViaWill    Via = 3 // a device left it for when its connection ends; Source names the device
	ViaGateway Via = 4 // the gateway itself did, about one of its topics
)

func (v Via) String() string {
	switch v {
	case ViaDevice:
		return "device"
	case ViaAPI:
		return "api"
	case ViaWill:
		return "will"
	case ViaGateway:
		return "gateway"
	}
	return "unknown"
}
