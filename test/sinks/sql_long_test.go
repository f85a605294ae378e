//go:build long

package sinks

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/internal/sink/sql"
	"github.com/longline/longline/test/servers"
)

func startMySQL(t testing.TB, options ...string) database {
	return mySQL{servers.MySQL(t, options...)}
}

func TestMySQL(t *testing.T) {
	contracts(t, startMySQL(t), sinktest.Run)
}

func TestMySQLValues(t *testing.T) { testValues(t, startMySQL(t, smallPacket)) }

func TestSQLLong(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		contracts(t, startPostgres(t), sinktest.RunLong)
	})
	t.Run("mariadb", func(t *testing.T) {
		contracts(t, startMariaDB(t), sinktest.RunLong)
	})
}

// TLS, a password in a file, and the choice among servers.
func TestPostgresConnections(t *testing.T) {
	cert := newCertificate(t)
	hba := write(t, "hostssl all secured 127.0.0.1/32 scram-sha-256\nhost all secured 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 trust\n")
	p := startPostgres(t, "ssl=on", "ssl_cert_file="+cert.cert, "ssl_key_file="+cert.key, "hba_file="+hba)
	p.run(t, "create table conns (a int); create user secured password 'sesame'; grant insert on conns to secured")
	standby := startPostgres(t, "default_transaction_read_only=on")
	testConnections(t, p, standby, cert)
}

func TestMariaDBConnections(t *testing.T) {
	cert := newCertificate(t)
	m := startMariaDB(t, "--ssl-cert="+cert.cert, "--ssl-key="+cert.key)
	m.run(t, "create table conns (a int); create user secured@localhost identified by 'sesame' require ssl; grant insert on test.conns to secured@localhost")
	standby := startMariaDB(t)
	standby.run(t, "set global read_only = 1; create user secured@localhost identified by 'sesame'")
	testConnections(t, m, standby, cert)
}

func testConnections(t *testing.T, primary, standby database, cert certificate) {
	t.Helper()
	password := write(t, "wrong\n")
	secured := sql.Config{
		Addresses: []string{"127.0.0.1:1", primary.address()}, User: "secured", Password: setting.SecretFile(password),
		Table: "conns", Columns: map[string]string{"a": "{payload.a}"},
	}
	secured.TLS.Enabled, secured.TLS.CA = true, cert.cert
	send := func(name string, c sql.Config, o pump.Options, check func(error) bool) {
		t.Helper()
		target := primary.open(t, c, o)
		defer target.Close()
		if _, err := target.Send(t.Context(), prepare(t, target, payloads(`{"a":1}`)...)); !check(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	none := func(err error) bool { return err == nil }
	later := func(err error) bool { return err != nil && !pump.IsRefused(err) && !pump.IsMisconfigured(err) }
	o := options(pump.Options{})
	send("a wrong password", secured, o, pump.IsMisconfigured)
	if err := os.WriteFile(password, []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o = options(pump.Options{})
	send("the right one", secured, o, none)
	c := secured
	c.TLS = sql.TLS{}
	send("without TLS", c, o, pump.IsMisconfigured)
	c.TLS.Enabled = true
	send("an unknown authority", c, o, later)
	c = sql.Config{Addresses: []string{standby.address(), primary.address()}, Table: "conns", Columns: secured.Columns}
	send("behind a standby", c, o, none)
	c.Addresses = []string{standby.address(), standby.address()}
	send("nothing but standbys", c, o, later)
}

// write writes a file and returns its name.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
