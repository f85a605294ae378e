package service

import (
	"sync"
	"time"
)

// blame tells failures of a service from those that one device brings about by what it asks. All methods are safe from any goroutine.
type blame struct {
	mu       sync.Mutex
	failed   string      // the device of the last failure
	answered [2]answered // the last two that were answered, the last one first; two different devices
}

// answered is a device, or the gateway if it is empty, and when it was answered.
type answered struct {
	device string
	at     time.Time
}

// answersCount is how long an answer to one device shows that the service is well, although another one's calls fail.
const answersCount = time.Minute

// succeed notes that a device was answered.
func (b *blame) succeed(device string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answered[0].device != device {
		b.answered[1] = b.answered[0]
	}
	b.answered[0] = answered{device, now}
	b.failed = ""
}

// fail notes that a call of a device has failed. It reports whether that may be the device's own doing: the failure before was its own as well,
// and another device was answered lately.
func (b *blame) fail(device string, now time.Time) (itsOwn bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	again := device != "" && b.failed == device
	b.failed = device
	for _, a := range b.answered {
		if again && a.device != device && now.Sub(a.at) < answersCount {
			return true
		}
	}
	return false
}
