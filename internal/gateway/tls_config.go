package gateway

import "github.com/longline/longline/internal/gateway/door"

// TLS is what the device port needs to speak TLS.
type TLS = door.TLS

// CheckFiles reads the files that t names, after WithDefaults, and says what is wrong with them.
func CheckFiles(t TLS) error { return door.CheckFiles(t) }
