package file

import (
	"os"

	"github.com/longline/longline/internal/sink/pump"
)

// Break makes the open file of a target one that cannot be written.
func Break(t pump.Target) error {
	f := t.(*target)
	f.writing.Lock()
	defer f.writing.Unlock()
	broken, err := os.Open(f.config.Path)
	if err != nil {
		return err
	}
	_ = f.out.part.file.Close()
	f.out.part.file = broken
	return nil
}
