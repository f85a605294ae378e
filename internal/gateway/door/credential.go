package door

import (
	"errors"
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
	id          uint64            // of the credential, hashed by IDOf
	expires     uint32            // Unix seconds; 0 is never
	refreshing  bool              // a new one is being verified
	raw         bool              // of a raw protocol: what it sends and gets has topics of its own
}

// newCredential makes that of an identity.
func newCredential(i *auth.Identity, raw bool) *credential {
	if i.Permissions == nil {
		return nil
	}
	c := &credential{permissions: i.Permissions, id: IDOf(i.ID), raw: raw}
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

// ForEver is longer than any alarm.
const ForEver = time.Duration(math.MaxInt64)

// left is how long the credential is good for, not above 0 when it has expired.
func (c *credential) left() time.Duration {
	if c == nil || c.expires == 0 {
		return ForEver
	}
	return time.Until(time.Unix(int64(c.expires), 0))
}

// lifetime is what the device is told: how long the credential is good for, 0 for ever.
func (c *credential) lifetime() time.Duration {
	if left := c.left(); left < ForEver {
		return max(left, time.Second)
	}
	return 0
}

// seed is this process's.
var seed = maphash.MakeSeed()

// ErrRefreshing is why a refresh is not begun.
var ErrRefreshing = errors.New("the refresh before is not answered yet")

// Lifetime is what the device is told: how long its credential is good for, 0 for ever.
func (c *Conn) Lifetime() time.Duration { return credentialOf(&c.link).lifetime() }

// Refresh has credentials verified and takes them in place of those that let the connection in, one at a time. done is told
// the answer on the loop, before Refresh returns or later, unless the connection has ended by then. A refusal leaves the old credential
// for as long as it lasts.
func (c *Conn) Refresh(shown *auth.Credentials, done func(error)) {
	switch old := credentialOf(&c.link); {
	case old == nil: // nothing expires
		done(nil)
	case old.refreshing:
		done(ErrRefreshing)
	default:
		old.refreshing = true
		c.shard.door.admission.verify(c.conn, shown, func(i *auth.Identity, err error) {
			if c.phase == Attached {
				c.refreshed(i, err, done)
			}
		})
	}
}

// refreshed takes the new credential.
func (c *Conn) refreshed(i *auth.Identity, err error, done func(error)) {
	now := credentialOf(&c.link)
	now.refreshing = false
	if err == nil {
		*now = *newCredential(i, now.raw) // in place: the session's permissions
		c.link.Permit()
	}
	done(err)
	if c.phase == Attached && !c.StillHeld() { // the alarm may be too late, or too soon
		c.Beat()
	}
}

// IDOf stands for a credential's ID in memory and in Conn.Bearing: by 64 random bits, two of a million credentials
// are the same once in 40 million nodes.
func IDOf(id string) uint64 {
	if id == "" {
		return 0
	}
	return maphash.String(seed, id)
}
