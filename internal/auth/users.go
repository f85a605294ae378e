package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/topic"
)

// users verifies HTTP Basic, RFC 7617, as OCPP's security profiles 1 and 2 use it: the user name is
// the charge point's identity.
type users struct {
	config Basic
	file   *reload.File[map[string]*user]
	key    []byte // random, per process; see user.known
	hasher *hasher

	guesses guesses
}

// user is one line of the file.
type user struct {
	hash []byte // bcrypt
	// known is the MAC of the password that was accepted last, so that a fleet that reconnects all at
	// once does not wait for bcrypt, which is slow by design. The MAC's key is never stored.
	known atomic.Pointer[[sha256.Size]byte]
}

func newUsers(config Basic, w *reload.Watcher, now func() time.Time) (*users, error) {
	f, err := reload.Open(w, config.File, parseUsers)
	if err != nil {
		return nil, err
	}
	u := &users{config: config, file: f, key: make([]byte, sha256.Size), hasher: newHasher(), guesses: guesses{now: now}}
	rand.Read(u.key)
	return u, nil
}

// onWithdrawn makes u call f with the IDs of users that were removed, or have another password.
func (u *users) onWithdrawn(f func(ids []string)) {
	u.file.OnChange(func(old, now map[string]*user) {
		var ids []string
		for name, who := range old {
			if again := now[name]; again == nil || !bytes.Equal(again.hash, who.hash) {
				ids = append(ids, userID(name))
			}
		}
		f(ids)
	})
}

// userID returns the credential's ID of a user.
func userID(name string) string { return "basic:" + name }

// parseUsers reads lines of "device:hash", as `htpasswd -B` writes them. Device ids may have
// colons, bcrypt hashes have none.
func parseUsers(text []byte) (map[string]*user, error) {
	table := make(map[string]*user)
	err := eachLine(text, func(line string) error {
		at := strings.LastIndexByte(line, ':')
		if at < 0 {
			return errors.New("want device:hash")
		}
		name, err := topic.CanonicalDevice(line[:at])
		if err != nil {
			return err
		}
		hash := []byte(line[at+1:])
		if _, err := bcrypt.Cost(hash); err != nil {
			return errors.New("want a bcrypt hash, such as htpasswd -B writes")
		}
		if table[name] != nil {
			return errors.New("the same device is on an earlier line")
		}
		table[name] = &user{hash: hash}
		return nil
	})
	return table, err
}

// Verify answers for an unknown user as for a wrong password, and as late.
func (u *users) Verify(ctx context.Context, c *Credentials) (*Identity, error) {
	if !c.HasBasic {
		return nil, ErrNotMine
	}
	if n := len(c.Password); n < u.config.MinPassword || n > u.config.MaxPassword {
		return nil, refuse("the password is shorter or longer than allowed")
	}
	table := u.file.Get()
	name, _ := topic.DeviceID(c.Username) // an invalid name is no user's
	who, ok := table[name]
	mac := u.mac(c.Password)
	if ok {
		if u.knows(who, mac) {
			return identified(name), nil
		}
	} else {
		who = anybody(table) // so that the answer takes as long
	}
	if u.guesses.tooMany(c.Remote) {
		return nil, errGuessing
	}
	right := false
	if who != nil {
		var err error
		if right, err = u.hasher.compare(ctx, who.hash, c.Password); err != nil {
			return nil, err
		}
	}
	if !ok || !right {
		u.guesses.note(c.Remote)
		return nil, refuse("wrong user or password")
	}
	who.known.Store(&mac)
	return identified(name), nil
}

// knows reports whether the MAC is that of the password that was accepted last.
func (u *users) knows(who *user, mac [sha256.Size]byte) bool {
	known := who.known.Load()
	return known != nil && hmac.Equal(known[:], mac[:])
}

func identified(name string) *Identity {
	return &Identity{Device: name, Subject: name, ID: userID(name)}
}

// anybody returns some user of the table, nil if there is none.
func anybody(table map[string]*user) *user {
	for _, who := range table {
		return who
	}
	return nil
}

func (u *users) mac(password string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, u.key)
	h.Write([]byte(password))
	h.Sum(sum[:0])
	return sum
}
