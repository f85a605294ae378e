//go:build long

package sinks

import (
	"testing"

	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/test/servers"
)

func startMySQL(t testing.TB, options ...string) database {
	return mySQL{servers.MySQL(t, options...)}
}

func TestMySQL(t *testing.T) {
	contracts(t, func(t testing.TB) database { return startMySQL(t) }, sinktest.Run)
}

func TestMySQLValues(t *testing.T) { testValues(t, startMySQL(t, smallPacket)) }

func TestSQLLong(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		contracts(t, func(t testing.TB) database { return startPostgres(t) }, sinktest.RunLong)
	})
	t.Run("mariadb", func(t *testing.T) {
		contracts(t, func(t testing.TB) database { return startMariaDB(t) }, sinktest.RunLong)
	})
}
