package file

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A lane syncs a file while another one sets it aside, and has no other yet. What rotate has synced is safe, unless the lane's own sync failed: the system
// tells of an error once.
func TestSetAsideWhileSynced(t *testing.T) {
	for name, c := range map[string]struct {
		err  error // of the lane's sync; nil: it comes too late
		want error
	}{"too late": {}, "failed": {syscall.EIO, syscall.EIO}} {
		o := output{config: Config{Path: filepath.Join(t.TempDir(), "out")}.WithDefaults()}
		if _, err := o.ready(time.Now()); err != nil {
			t.Fatal(err)
		}
		end, err := o.append([]byte("a\n"))
		if err != nil {
			t.Fatal(err)
		}
		f, upTo, err := o.unsafe(end)
		if f == nil || err != nil {
			t.Fatal(f, err)
		}
		if err := o.rotate(time.Now()); err != nil {
			t.Fatal(err)
		}
		if c.err == nil {
			c.err = f.Sync()
		}
		if err := o.synced(upTo, c.err); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := o.unsafe(end); (err == nil) != (c.want == nil) {
			t.Errorf("%s: another lane is told %v", name, err)
		}
	}
}
