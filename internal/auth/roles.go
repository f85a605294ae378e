package auth

import (
	"fmt"
	"strings"

	"github.com/longline/longline/internal/reload"
)

// Role is what a caller of the API may do. Each includes those before it.
type Role uint8

const (
	NoRole  Role = iota
	Read         // inspect
	Operate      // publish, call, disconnect
	Admin        // drain, revoke
)

var roleNames = [...]string{NoRole: "none", Read: "read", Operate: "operate", Admin: "admin"}

func (r Role) String() string { return roleNames[r] }

// Allows reports whether a caller with r may do what needs a role.
func (r Role) Allows(needs Role) bool { return r >= needs }

// Roles knows the bearer tokens of the API. Safe from any goroutine.
type Roles struct {
	file *reload.File[map[digest]grant]
}

// OpenRoles reads a tokens file, and w reads it again when it changes. Each line has a role,
// sha256: with the token's SHA-256 in hexadecimal digits, and optionally a name.
func OpenRoles(file string, w *reload.Watcher) (*Roles, error) {
	f, err := reload.Open(w, file, parseRoles)
	if err != nil {
		return nil, err
	}
	return &Roles{f}, nil
}

func parseRoles(text []byte) (map[digest]grant, error) {
	return parseGrants(text, func(subject string) error {
		if role(subject) == NoRole {
			return fmt.Errorf("want one of %s, not %q", strings.Join(roleNames[Read:], ", "), subject)
		}
		return nil
	})
}

// role returns the role of that name, NoRole if there is none.
func role(name string) Role {
	for r := Read; r <= Admin; r++ {
		if roleNames[r] == name {
			return r
		}
	}
	return NoRole
}

// Authorize returns the role of a token, and the name for logs. An error is a *Refusal.
func (r *Roles) Authorize(token string) (Role, string, error) {
	if token == "" {
		return NoRole, "", refuse("no token was presented")
	}
	g, ok := r.file.Get()[digestOf(token)]
	if !ok {
		return NoRole, "", refuse("the token is unknown")
	}
	return role(g.subject), g.name, nil
}
