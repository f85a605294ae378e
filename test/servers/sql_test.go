//go:build servers

package servers

import "testing"

// databases start those of the short form.
var databases = map[string]func(testing.TB, ...string) *Server{"postgres": Postgres, "mariadb": MariaDB}

// A database can be used after it was killed, again and again.
func TestDatabases(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			for range 3 {
				s.Kill()
				s.Restart()
			}
		})
	}
}
