package gateway

import (
	"hash/maphash"
	"math"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/session"
)

// credential is what a connection remembers of what let it in, and what it may therefore do.
// It is the link's session.Permissions. Owned by the loop. A nil one is insecure's: it allows
// all and does not expire.
type credential struct {
	permissions *auth.Permissions // shared by all whose credentials do not say
	id          uint64            // of the credential, hashed by idOf
	expires     uint32            // Unix seconds; 0 is never
	refreshing  bool              // a new one is being verified
	raw         bool              // of a raw protocol: what it sends and gets has topics of its own
}

// newCredential makes that of an identity.
func newCredential(i *auth.Identity, raw bool) *credential {
	if i.Permissions == nil {
		return nil
	}
	c := &credential{permissions: i.Permissions, id: idOf(i.ID), raw: raw}
	if at := i.Expires.Add(time.Second - 1).Unix(); !i.Expires.IsZero() && at < math.MaxUint32 {
		c.expires = uint32(max(1, at)) // no sooner than it says
	}
	return c
}

// session is the credential as a session.Permissions: nil allows all.
func (c *credential) session() session.Permissions {
	if c == nil {
		return nil
	}
	return c
}

// credentialOf is what let a link's connection in.
func credentialOf(l *session.Link) *credential {
	c, _ := l.Permissions().(*credential)
	return c
}

// MayPublish implements session.Permissions.
func (c *credential) MayPublish(device, topic string) bool {
	return c.raw || c.permissions.MayPublish(device, topic)
}

// MaySubscribe implements session.Permissions.
func (c *credential) MaySubscribe(device, filter string) bool {
	return c.raw || c.permissions.MaySubscribe(device, filter)
}

// Credential implements session.Permissions.
func (c *credential) Credential() uint64 { return c.id }

// forEver is longer than any alarm.
const forEver = time.Duration(math.MaxInt64)

// left is how long the credential is good for, not above 0 when it has expired.
func (c *credential) left() time.Duration {
	if c == nil || c.expires == 0 {
		return forEver
	}
	return time.Until(time.Unix(int64(c.expires), 0))
}

// lifetime is what the device is told: how long the credential is good for, 0 for ever.
func (c *credential) lifetime() time.Duration {
	if left := c.left(); left < forEver {
		return max(left, time.Second)
	}
	return 0
}

// seed is this process's.
var seed = maphash.MakeSeed()

// idOf stands for a credential's ID in memory: by 64 random bits, two of a million credentials
// are the same once in 40 million nodes.
func idOf(id string) uint64 {
	if id == "" {
		return 0
	}
	return maphash.String(seed, id)
}
