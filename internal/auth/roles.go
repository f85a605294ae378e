package auth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/longline/longline/internal/reload"
)

// Role is what a caller of the API may do. Each includes those before it, but for Serve, which is for programs that answer devices' calls
// and shall see nothing else.
type Role uint8

const (
	NoRole  Role = iota
	Read         // inspect
	Serve        // answer devices' calls as a service; does not include Read
	Operate      // publish, call, disconnect
	Admin        // drain, revoke
)

var roleNames = [...]string{NoRole: "none", Read: "read", Serve: "serve", Operate: "operate", Admin: "admin"}

func (r Role) String() string { return roleNames[r] }

// Allows reports whether a caller with r may do what needs a role.
func (r Role) Allows(needs Role) bool { return r >= needs && !(r == Serve && needs == Read) }

// Caller is who has a token of the API. Static.
type Caller struct {
	ID       string // names the token, by its digest
	Name     string // for logs
	Role     Role
	services []string // that a caller with Serve may serve; none means all
}

// Serves reports whether the caller may answer the calls of a service.
func (c *Caller) Serves(service string) bool {
	return c.Role.Allows(Serve) && (len(c.services) == 0 || slices.Contains(c.services, service))
}

// Roles knows the bearer tokens of the API. Safe from any goroutine.
type Roles struct {
	file *reload.File[map[digest]Caller]
}

// OpenRoles reads a tokens file, and w reads it again when it changes. Each line has a role,
// sha256: with the token's SHA-256 in hexadecimal digits, and optionally a name. The role serve may name services: serve:billing,grid.
func OpenRoles(file string, w *reload.Watcher) (*Roles, error) {
	f, err := reload.Open(w, file, parseRoles)
	if err != nil {
		return nil, err
	}
	return &Roles{f}, nil
}

func parseRoles(text []byte) (map[digest]Caller, error) {
	grants, err := parseGrants(text, func(subject string) error {
		_, _, err := parseRole(subject)
		return err
	})
	if err != nil {
		return nil, err
	}
	callers := make(map[digest]Caller, len(grants))
	for d, g := range grants {
		c := Caller{ID: d.id(), Name: g.name}
		c.Role, c.services, _ = parseRole(g.subject) // parseGrants has checked it
		callers[d] = c
	}
	return callers, nil
}

// parseRole reads the first word of a line.
func parseRole(text string) (role Role, services []string, err error) {
	name, list, restricted := strings.Cut(text, ":")
	at := slices.Index(roleNames[:], name)
	switch {
	case at < int(Read):
		return NoRole, nil, fmt.Errorf("want one of %s, not %q", strings.Join(roleNames[Read:], ", "), name)
	case !restricted:
		return Role(at), nil, nil
	case Role(at) != Serve:
		return NoRole, nil, fmt.Errorf("only the role serve is followed by names of services, not %s", name)
	}
	services = strings.Split(list, ",")
	if slices.Contains(services, "") {
		return NoRole, nil, fmt.Errorf("want names of services behind serve:, such as serve:billing,grid, not %q", list)
	}
	return Serve, services, nil
}

// Authorize returns who has a token. An error is a *Refusal.
func (r *Roles) Authorize(token string) (Caller, error) {
	if token == "" {
		return Caller{}, refuse("no token was presented")
	}
	c, ok := r.file.Get()[digestOf(token)]
	if !ok {
		return Caller{}, refuse("the token is unknown")
	}
	return c, nil
}
