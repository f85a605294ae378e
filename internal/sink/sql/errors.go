package sql

import (
	"errors"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

// kind is what an error means.
type kind uint8

const (
	none          kind = iota
	later              // the server or the connection fails; also an error that nobody knows
	again              // the transaction was undone because of another one; the connection is well
	refused            // it is about the values of a message
	noTable            // there is no such table
	misconfigured      // only a person can mend it
)

// postgresKind says what an error means. PostgreSQL's documentation, appendix A, has the codes.
func postgresKind(err error) kind {
	var e *pgconn.PgError
	switch {
	case err == nil:
		return none
	case !errors.As(err, &e) || len(e.Code) != 5:
		return later
	}
	k := postgresCode(e.Code)
	if k == refused && errors.As(err, new(moveError)) {
		return later // two processes have made the first row
	}
	return k
}

func postgresCode(code string) kind {
	switch code {
	case "40001", "40P01", "55P03": // serialization, deadlock, lock not available
		return again
	case "42P01", "3F000": // undefined table, schema
		return noTable
	case "25006": // the server is read-only
		return later
	}
	switch code[:2] {
	case "22", "23", "21", "44", "P0", "54": // data, constraint, cardinality, view's check, raised by a trigger, too large for an index or a row
		return refused
	case "42", "28", "3D", "0A", "0L", "0P", "2F", "38", "39": // syntax or access rule, authorization, no database, not supported, roles, functions
		return misconfigured
	}
	return later
}

// mySQLKind says what an error means.
func mySQLKind(err error) kind {
	var e *mysql.MySQLError
	switch {
	case err == nil:
		return none
	case errors.Is(err, mysql.ErrPktTooLarge):
		return refused
	case !errors.As(err, &e):
		return later
	}
	k := mySQLCode(e)
	if k == refused && errors.As(err, new(moveError)) {
		return later
	}
	return k
}

// The numbers of errors whose class (SQLSTATE) says nothing, or something else. MySQL's and MariaDB's references have them; only MariaDB has
// those of 1900 to 1999 and of 4000 and more.
var (
	mySQLAgain = []uint16{
		1205, // lock wait timeout
		1213, // deadlock
		1412, // the table was changed
		1615, // a prepared statement is out of date
	}
	mySQLLater = []uint16{
		1040, 1203, 1226, 1461, // too many connections, also of the user; a limit per hour; too many prepared statements
		1290, 1792, 1836, // read-only
		1053,             // shutdown
		1927, 1317, 1969, // killed, interrupted, too slow
		1047, // a Galera node that is not synced; otherwise a command that the server does not know
	}
	mySQLRefused = []uint16{
		1048, 1062, // null, duplicate
		1264, 1265, 1292, 1366, 1406, 1411, 1416, 1690, // a value that does not fit the column
		1153, 1301, // longer than the server's largest packet
		1216, 1217, 1451, 1452, // foreign keys
		1526, 1748, // no partition
		1644,       // raised by a trigger
		3819, 4025, // a check
		1300,       // not of the character set
		3988,       // nor can it be made so
		1118, 1713, // a row too large
		3140, 3141, 3144, 3145, 3156, 3157, 3158, // not JSON
	}
	mySQLMisconfigured = []uint16{
		1044, 1045, 1130, 1142, 1143, 1227, 1370, 1410, 1698, 1820, 1862, 3118, 4151, 3955, // access denied, in all its forms
		1046, 1049, // no database
		1054, 1064, 1110, 1136, 1305, 1356, 1364, 1390, 1471, // columns, also one without a default that the statement leaves out; syntax
	}
)

// mySQLUnknown is the number of errors that have none.
const mySQLUnknown = 1105

func mySQLCode(e *mysql.MySQLError) kind {
	switch {
	case e.Number == 1146 || e.Number == 1051:
		return noTable
	case slices.Contains(mySQLAgain, e.Number):
		return again
	case slices.Contains(mySQLLater, e.Number):
		return later
	case slices.Contains(mySQLRefused, e.Number), e.Number == mySQLUnknown && strings.Contains(e.Message, "mysql_send_long_data()"): // too long
		return refused
	case slices.Contains(mySQLMisconfigured, e.Number):
		return misconfigured
	}
	switch string(e.SQLState[:2]) {
	case "22", "23", "44", "45":
		return refused
	case "42", "28":
		return misconfigured
	case "40":
		return again
	}
	return later
}
