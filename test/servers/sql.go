package servers

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver of createsTest
	"github.com/jackc/pgx/v5"
)

// libraries is where Debian has them.
const libraries = "/usr/lib/x86_64-linux-gnu"

// Postgres starts a PostgreSQL. Options are further settings, such as max_connections=10. Its user postgres needs no password on
// 127.0.0.1. What was committed stays when it is restarted.
func Postgres(t testing.TB, options ...string) *Server {
	t.Helper()
	return Start(t, PostgresProgram(options...))
}

// PostgresProgram is the program of Postgres.
func PostgresProgram(options ...string) Program {
	program := func(installed, name string, args ...string) []string {
		return append([]string{"env", "LD_LIBRARY_PATH=" + installed + libraries, installed + "/usr/lib/postgresql/15/bin/" + name}, args...)
	}
	return Program{
		Name:  "postgres",
		Ports: []int{0},
		Many:  true,
		Prepare: func(installed, dir string) error {
			return prepare(dir, true, program(installed, "initdb",
				"--pgdata=data", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"))
		},
		Command: func(installed string, port int) []string {
			line := program(installed, "postgres", "-D", "data", "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-k", "")
			for _, o := range append([]string{"shared_buffers=32MB", "jit=off", "dynamic_shared_memory_type=mmap"}, options...) {
				line = append(line, "-c", o)
			}
			return line
		},
		Ready: func(ctx context.Context, port int) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			db, err := pgx.Connect(ctx, fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port))
			if err != nil {
				return err
			}
			return db.Close(ctx)
		},
	}
}

// MariaDB starts a MariaDB. Options are further ones of its command line. Its user root needs no password on 127.0.0.1, and there is the
// database test. What was committed stays when it is restarted.
func MariaDB(t testing.TB, options ...string) *Server {
	t.Helper()
	return Start(t, MariaDBProgram(options...))
}

// MariaDBProgram is the program of MariaDB.
func MariaDBProgram(options ...string) Program {
	program := func(installed, name string, options ...string) []string {
		return mySQL(installed, []string{"env", "LD_LIBRARY_PATH=" + installed + libraries, installed + name}, options)
	}
	return Program{
		Name:  "mariadb",
		Ports: []int{0},
		Prepare: func(installed, dir string) error {
			return prepare(dir, false, program(installed, "/usr/bin/mariadb-install-db", "--auth-root-authentication-method=normal", "--skip-test-db"))
		},
		Command: func(installed string, port int) []string {
			return program(installed, "/usr/sbin/mariadbd", append(mySQLOptions(port), options...)...)
		},
		Ready: createsTest,
	}
}

// MySQL starts Oracle's MySQL; as MariaDB.
func MySQL(t testing.TB, options ...string) *Server {
	t.Helper()
	program := func(installed string, options ...string) []string {
		return mySQL(installed, []string{
			installed + "/usr/lib64/ld-linux-x86-64.so.2", "--library-path", installed + libraries, installed + "/usr/sbin/mysqld",
		}, append(options, "--secure-file-priv="))
	}
	return Start(t, Program{
		Name:  "mysql",
		Ports: []int{0},
		Prepare: func(installed, dir string) error {
			return prepare(dir, false, program(installed, "--initialize-insecure", "--user=root"))
		},
		Command: func(installed string, port int) []string {
			return program(installed, append(append(mySQLOptions(port), "--mysqlx=OFF", "--performance-schema=OFF"), options...)...)
		},
		Ready: createsTest,
	})
}

// mySQL returns the command line of a program of MySQL or MariaDB with options; it has its files in the directory data of the one in
// which it runs. A relative name would be one below the directory in which it is installed.
func mySQL(installed string, program, options []string) []string {
	line := []string{"sh", "-c", `exec "$@" --datadir="$PWD/data"`, "sh"}
	line = append(line, program...)
	return append(append(line, "--no-defaults", "--basedir="+installed+"/usr"), options...)
}

// mySQLOptions are those that MariaDB and MySQL have in common.
func mySQLOptions(port int) []string {
	return []string{
		"--user=root", "--bind-address=127.0.0.1", "--port=" + strconv.Itoa(port), "--socket=s", "--pid-file=pid",
		"--innodb-buffer-pool-size=64M",
	}
}

// createsTest is a Ready: there is the database test.
func createsTest(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	db, err := sql.Open("mysql", fmt.Sprintf("root@tcp(127.0.0.1:%d)/", port))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, "create database if not exists test")
	return err
}
