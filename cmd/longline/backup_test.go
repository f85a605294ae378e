package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/longline/longline/internal/wire/mqtt"
)

// What docs/operating.md says of a backup: stop the node, copy the directory without ids, start it again; to restore it, put the copy in
// the directory's place. The commands of longline store are tried on it too.
func TestBackupAndRestore(t *testing.T) {
	dir, backup := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backup")
	p := serveData(t, dir)
	away := p.mqtt("away", false)
	away.subscribe("news/#")
	away.leave()
	publisher := p.mqtt("publisher", false)
	publisher.publish("news/a", "before", 1, 1, nil)
	publisher.publish("kept", "before", 1, 2, func(p *mqtt.Packet) { p.Retain = true })
	if code, _, stderr := longline(t, "store", "check", dir); code != exitFailed || !strings.Contains(stderr, fmt.Sprint("in use by process ", p.cmd.Process.Pid)) {
		t.Errorf("check beside a gateway: exit code %d, %s", code, stderr)
	}
	p.signal()
	if code := p.exitCode(); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(backup, "ids")); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := longline(t, "store", "check", backup)
	if code != exitDone || !strings.HasSuffix(stdout, backup+": nothing is wrong\n") || !strings.Contains(stdout, "1 queued messages, 1 retained messages") {
		t.Errorf("check of the backup: exit code %d, %s%s", code, stdout, stderr)
	}

	p = serveData(t, dir) // the node goes on
	p.mqtt("publisher", true).publish("news/b", "after", 1, 3, nil)
	p.kill()
	if _, stdout, _ := longline(t, "store", "check", dir); !strings.Contains(stdout, " not in it yet: a start applies them\n") {
		t.Errorf("check after a kill does not say that the state is behind the journal: %s", stdout)
	}

	if err := os.RemoveAll(dir); err != nil { // the disk is lost
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	p = serveData(t, dir)
	p.mqtt("away", true).wantNext("news/a=before qos 1 id 1 dup false retain false")
	fresh := p.mqtt("fresh", false)
	fresh.subscribe("#")
	fresh.wantNext("kept=before qos 1 id 1 dup false retain true")
	p.kill()

	code, stdout, stderr = longline(t, "store", "export", dir)
	if code != exitDone || strings.Count(stdout, `"type":"session"`) < 3 || !strings.Contains(stdout, `{"type":"retained","qos":1,"message":`) {
		t.Errorf("export: exit code %d, %s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := longline(t, "store", "repair", dir); code != exitDone || stdout != dir+": nothing is wrong\n" {
		t.Errorf("repair: exit code %d, %s%s", code, stdout, stderr)
	}
	if err := os.Truncate(filepath.Join(dir, "FORMAT"), 0); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := longline(t, "store", "check", dir); code != exitFailed || !strings.Contains(stdout, "BAD  FORMAT: ") || !strings.Contains(stderr, "longline store repair") {
		t.Errorf("check: exit code %d, %s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := longline(t, "store", "repair", dir); code != exitDone || !strings.HasPrefix(stdout, "FORMAT: ") {
		t.Errorf("repair: exit code %d, %s%s", code, stdout, stderr)
	}
	serveData(t, dir).mqtt("away", true)
}
