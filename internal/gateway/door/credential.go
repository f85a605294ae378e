package door

import (
	"errors"
	"hash/maphash"
	"math"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/session"
)

// credential is what a connection remembers of the credential with which the device connected. It implements
// session.Permissions. Owned by the loop. With insecure it is nil, which allows all and does not expire.
type credential struct {
	permissions *auth.Permissions // shared by all devices whose credentials name none
	id          uint64            // IDOf the credential's ID
	expires     uint32            // Unix seconds; 0 means never
	refreshing  bool              // a new one is being verified
	raw         bool              // the protocol is raw: the gateway chooses its topics, so everything is allowed
}

// newCredential makes the credential of an identity.
func newCredential(i *auth.Identity, raw bool) *credential {
	if i.Permissions == nil {
		return nil
	}
	c := &credential{permissions: i.Permissions, id: IDOf(i.ID), raw: raw}
	if at := i.Expires.Add(time.Second - 1).Unix(); !i.Expires.IsZero() && at < math.MaxUint32 {
		c.expires = uint32(max(1, at)) // never sooner than Expires
	}
	return c
}

// session returns c as session.Permissions; nil allows all.
func (c *credential) session() session.Permissions {
	if c == nil {
		return nil
	}
	return c
}

// credentialOf returns the credential of a link's connection.
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

// MayCall implements session.Permissions.
func (c *credential) MayCall(_, service string) bool { return c.raw || c.permissions.MayCall(service) }

// Credential implements session.Permissions.
func (c *credential) Credential() uint64 { return c.id }

// ForEver is longer than any alarm.
const ForEver = time.Duration(math.MaxInt64)

// left returns how long the credential is still valid; it is not positive if the credential has expired.
func (c *credential) left() time.Duration {
	if c == nil || c.expires == 0 {
		return ForEver
	}
	return time.Until(time.Unix(int64(c.expires), 0))
}

// lifetime returns how long the credential is still valid, for the device: 0 means for ever.
func (c *credential) lifetime() time.Duration {
	if left := c.left(); left < ForEver {
		return max(left, time.Second)
	}
	return 0
}

// seed is the seed of IDOf, new in each process.
var seed = maphash.MakeSeed()

// ErrRefreshing refuses a refresh while another one is being verified.
var ErrRefreshing = errors.New("the last refresh is not answered yet")

// Lifetime returns how long the credential of the device is still valid: 0 means for ever.
func (c *Conn) Lifetime() time.Duration { return credentialOf(&c.link).lifetime() }

// Refresh verifies new credentials and replaces the old ones by them, one refresh at a time. It calls done with the
// answer on the loop, before Refresh returns or later, unless the connection ends before. After a refusal the old
// credential remains valid until it expires.
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

// refreshed replaces the credential by that of i, unless err refuses it.
func (c *Conn) refreshed(i *auth.Identity, err error, done func(error)) {
	now := credentialOf(&c.link)
	now.refreshing = false
	if err == nil {
		*now = *newCredential(i, now.raw) // in place, because the session holds the pointer
		c.link.Permit()
	}
	done(err)
	if c.phase == Attached && !c.StillHeld() { // the alarm may be too late, or too soon
		c.Check()
	}
}

// IDOf returns the hash that represents a credential's ID in memory and in Conn.Bearer. It has 64 bits and a random
// seed: two of a million credentials have the same hash on one in 40 million nodes.
func IDOf(id string) uint64 {
	if id == "" {
		return 0
	}
	return maphash.String(seed, id)
}
