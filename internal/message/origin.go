package message

// Origin says where a message comes from. The publisher's side sets Via; the router of the node that receives it sets
// Node.
type Origin struct {
	Node uint16 // number of the node that received it; 0 before
	Via  Via
}

// Via is how a message came to its node. Records store the numbers.
type Via uint8

const (
	ViaUnknown Via = 0
	ViaDevice  Via = 1 // a device published it; Source names the device
	ViaAPI     Via = 2 // a backend published it
	ViaWill    Via = 3 // it is the will of a device; Source names the device
	ViaGateway Via = 4 // the gateway published it, on one of its own topics
	ViaSource  Via = 5 // it came from a system behind, by a source
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
	case ViaSource:
		return "source"
	}
	return "unknown"
}
