package fleet

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The rows of several files are merged by time, whatever columns and time formats the files have. A device may be in several.
func TestSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, file := range [][2]string{
		{"a.csv", "id,t,v\nm,1451606400,1\nm,1451606460,3\nn,1451606460,4\n"},
		{"b.csv", "t;id\n2016-01-01 00:00:30;m\n2016-01-01 00:02:00;o\n"},
		{"none.csv", "id,t\n"},
	} {
		name := filepath.Join(dir, file[0])
		files = append(files, name)
		if err := os.WriteFile(name, []byte(file[1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replay := Replay{Files: files, IDColumn: "id", TimeColumn: "t"}
	if err := replay.validate(); err != nil {
		t.Fatal(err)
	}
	rec, err := replay.scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"m", "n", "o"}; !slices.Equal(rec.names, want) || rec.rows != 5 {
		t.Errorf("%d rows of %q, want 5 of %q", rec.rows, rec.names, want)
	}
	pass, err := rec.open()
	if err != nil {
		t.Fatal(err)
	}
	defer pass.close()
	var got []string
	for {
		rows, err := pass.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rows.id+string(rows.json()))
	}
	if want := []string{
		`m{"id":"m","t":1451606400,"v":1}`,
		`m{"t":"2016-01-01 00:00:30","id":"m"}`,
		`m{"id":"m","t":1451606460,"v":3}`,
		`n{"id":"n","t":1451606460,"v":4}`,
		`o{"t":"2016-01-01 00:02:00","id":"o"}`,
	}; !slices.Equal(got, want) {
		t.Errorf("rows %q, want %q", got, want)
	}
}

func TestFileNamedTwice(t *testing.T) {
	replay := Replay{Files: []string{"a", "b", "a"}, ID: "m", TimeColumn: "t"}
	if err := replay.validate(); err == nil {
		t.Error("no error")
	}
}
