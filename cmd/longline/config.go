package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/config"
	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/sink"
)

// ConfigCmd is longline config.
type ConfigCmd struct {
	Example ConfigExample `cmd:"" help:"Print a configuration file with every option as a comment."`
	Check   ConfigCheck   `cmd:"" help:"Report what is wrong with a configuration file and the files that it names."`
	Print   ConfigPrint   `cmd:"" help:"Print the configuration that serve would use, without secrets."`
}

// ConfigExample is longline config example.
type ConfigExample struct{}

// Run prints an example file.
func (ConfigExample) Run(console *Console) error {
	_, err := console.Out.Write(config.Example())
	return err
}

// ConfigCheck is longline config check.
type ConfigCheck struct {
	File string `arg:"" help:"The file."`
}

// Run reads the file as serve does. It prints one line if nothing is wrong.
func (c ConfigCheck) Run(console *Console) error {
	if _, err := config.LoadWith(c.File, config.Config{}, checkFiles); err != nil {
		return err
	}
	_, err := fmt.Fprintf(console.Out, "%s: nothing is wrong\n", c.File)
	return err
}

// ConfigPrint is longline config print.
type ConfigPrint struct{ Serve }

// Run prints the configuration that serve makes of its file, the environment and its flags.
func (p *ConfigPrint) Run(console *Console) error {
	c, err := p.config(os.Environ())
	if err != nil {
		return err
	}
	return config.Print(console.Out, c)
}

// checkFiles reads the files that a configuration names, as serve would. The error begins with the option's key.
func checkFiles(c config.Config) error {
	var w reload.Watcher // not started: it reads each file once
	if err := gateway.CheckFiles(c.Gateway.TLS); err != nil {
		return fmt.Errorf("gateway.%w", err)
	}
	if len(c.Auth.Order) > 0 && !c.Gateway.Insecure {
		chain, err := auth.Open(c.Auth, &w)
		if err != nil {
			return fmt.Errorf("auth.%w", err)
		}
		chain.Close()
	}
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		if err := c.Services[name].CheckFiles(&w); err != nil {
			return fmt.Errorf("services.%s.%w", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sinks)) {
		parts, err := c.Sinks[name].Open(name, sink.Needs{Node: uint16(c.Node.Number), Watcher: &w, Log: slog.New(slog.DiscardHandler), Offline: true})
		if err != nil {
			return fmt.Errorf("sinks.%s.%w", name, err)
		}
		parts.Target.Close()
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		if err := c.Sources[name].CheckFiles(name, &w); err != nil {
			return fmt.Errorf("sources.%s.%w", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Models)) {
		if err := c.Models[name].CheckFiles(&w); err != nil {
			return fmt.Errorf("models.%s.%w", name, err)
		}
	}
	if c.API.Tokens != "" {
		if _, err := auth.OpenRoles(c.API.Tokens, &w); err != nil {
			return fmt.Errorf("api.tokens: %w", err)
		}
	}
	if c.API.Cert != "" {
		if _, err := reload.OpenKeyPair(&w, c.API.Cert, c.API.Key); err != nil {
			return fmt.Errorf("api.cert: %w", err)
		}
	}
	if c.API.Audit != "" && c.API.Audit != "-" {
		if err := checkAppend(c.API.Audit); err != nil {
			return fmt.Errorf("api.audit: %w", err)
		}
	}
	return nil
}

// checkAppend returns why a file cannot be appended to. It does not create the file.
func checkAppend(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
		return fmt.Errorf("%s: its folder does not exist", file)
	}
	return nil
}
