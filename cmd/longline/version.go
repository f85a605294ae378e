package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
)

// VersionCmd is longline version.
type VersionCmd struct{}

// Run prints the version.
func (VersionCmd) Run(console *Console) error {
	_, err := fmt.Fprintln(console.Out, version())
	return err
}

// version returns one line: the module's version, the commit, and Go's version.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "longline, of an unknown build"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	words := []string{"longline", info.Main.Version}
	if revision := settings["vcs.revision"]; revision != "" {
		words = append(words, "commit", revision[:min(12, len(revision))])
		if settings["vcs.modified"] == "true" {
			words = append(words, "with changes")
		}
	}
	return strings.Join(append(words, info.GoVersion, settings["GOOS"]+"/"+settings["GOARCH"]), " ")
}

// moduleVersion returns the version of the module alone.
func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// HelpCmd is longline help.
type HelpCmd struct {
	Command []string `arg:"" optional:"" help:"The command."`
}

// Run prints the help of the command.
func (h HelpCmd) Run(console *Console, app *kong.Kong) error {
	ctx, err := kong.Trace(app, h.Command)
	if err != nil {
		return err
	}
	if ctx.Error != nil {
		return &exitError{exitUsage, ctx.Error}
	}
	return ctx.PrintUsage(false)
}
