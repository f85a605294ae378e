package main

import (
	"fmt"

	"github.com/longline/longline/internal/config"
)

// ConfigCmd is longline config.
type ConfigCmd struct {
	Example ConfigExample `cmd:"" help:"Print a configuration file with every option as a comment."`
	Check   ConfigCheck   `cmd:"" help:"Tell what is wrong with a configuration file."`
}

// ConfigExample prints what Load reads.
type ConfigExample struct{}

// Run prints it.
func (ConfigExample) Run(console *Console) error {
	_, err := console.Out.Write(config.Example())
	return err
}

// ConfigCheck reads a file as serve does.
type ConfigCheck struct {
	File string `arg:"" help:"The file."`
}

// Run prints one line when nothing is wrong.
func (c ConfigCheck) Run(console *Console) error {
	if _, err := config.Load(c.File); err != nil {
		return err
	}
	_, err := fmt.Fprintf(console.Out, "%s: nothing is wrong\n", c.File)
	return err
}
