package gateway

import "github.com/longline/longline/internal/gateway/door"

// TLS has the options of TLS on the device ports.
type TLS = door.TLS

// CheckFiles reads the files that t names, after WithDefaults, and returns what is wrong with them.
func CheckFiles(t TLS) error { return door.CheckFiles(t) }
