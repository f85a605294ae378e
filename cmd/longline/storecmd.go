package main

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/longline/longline/internal/store/disk"
)

// StoreCmd is longline store.
type StoreCmd struct {
	Check  StoreCheck  `cmd:"" help:"Report what is in the directory of a gateway that does not run, and what is wrong with it; exit code 1 if something is."`
	Export StoreExport `cmd:"" help:"Print what is kept in the directory of a gateway that does not run: a line of JSON per session, subscription, queued message and retained message."`
	Repair StoreRepair `cmd:"" help:"Set aside what is spoilt in the directory of a gateway that does not run, so that it starts, and report what is lost."`
}

// StoreCheck is longline store check.
type StoreCheck struct {
	Dir string `arg:"" help:"The directory of store.path."`
}

// Run prints a line per part.
func (c *StoreCheck) Run(console *Console) error {
	bad := 0
	err := disk.Check(c.Dir, func(f disk.Finding) {
		state := "ok "
		if f.Bad {
			state = "BAD"
			bad++
		}
		_, _ = fmt.Fprintf(console.Out, "%s  %s: %s\n", state, f.Part, f.Text) // there is nobody else to tell
	})
	switch {
	case err != nil:
		return err
	case bad > 0:
		return fmt.Errorf("%s: something is wrong; longline store repair %s sets aside what is spoilt", c.Dir, c.Dir)
	}
	_, err = fmt.Fprintf(console.Out, "%s: nothing is wrong\n", c.Dir)
	return err
}

// StoreExport is longline store export.
type StoreExport struct {
	Dir string `arg:"" help:"The directory of store.path."`
}

// Run prints the lines. What cannot be read goes to the standard error.
func (e *StoreExport) Run(console *Console) error {
	out := bufio.NewWriter(console.Out)
	lost := false
	err := disk.Export(e.Dir, out, func(f disk.Finding) {
		lost = true
		_, _ = fmt.Fprintf(console.Err, "%s: %s\n", f.Part, f.Text) // as above
	})
	if err = errors.Join(err, out.Flush()); err == nil && lost {
		err = errors.New("not everything could be read")
	}
	return err
}

// StoreRepair is longline store repair.
type StoreRepair struct {
	Dir           string `arg:"" help:"The directory of store.path. Copy it before."`
	WithoutSecond bool   `help:"Give up what is in store.second_path, which is not there."`
}

// Run prints a line for everything that is lost or set aside.
func (r *StoreRepair) Run(console *Console) error {
	said := false
	err := disk.Repair(r.Dir, r.WithoutSecond, func(f disk.Finding) {
		said = true
		_, _ = fmt.Fprintf(console.Out, "%s: %s\n", f.Part, f.Text) // as above
	})
	if err == nil && !said {
		_, err = fmt.Fprintf(console.Out, "%s: nothing is wrong\n", r.Dir)
	}
	return err
}
