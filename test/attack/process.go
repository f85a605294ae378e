package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// process is a process of longline serve. It is killed when the context of start ends, and when this program ends.
type process struct {
	command *exec.Cmd
	log     io.Closer
	lines   *bufio.Scanner // reads its log
}

// start runs a command line in a folder.
func start(ctx context.Context, folder string, line []string) (*process, error) {
	p := &process{command: exec.CommandContext(ctx, line[0], line[1:]...)}
	p.command.Dir = folder
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, err := p.command.StderrPipe()
	if err != nil {
		return nil, err
	}
	p.log, p.lines = log, bufio.NewScanner(log)
	return p, p.command.Start()
}

// listening reads the log up to the addresses. If the log ends before, the error has the log.
func (p *process) listening() (t targets, err error) {
	said := ""
	for p.lines.Scan() {
		var entry struct{ Msg, Devices, MQTT, Admin string }
		if json.Unmarshal(p.lines.Bytes(), &entry) == nil && entry.Msg == "listening" {
			go p.relay()
			return targets{Devices: entry.Devices, MQTT: entry.MQTT, Admin: entry.Admin}, nil
		}
		said += p.lines.Text() + "\n"
	}
	return t, errors.Join(errors.New("the gateway ended before it was listening"), errors.New(said), p.lines.Err(), p.command.Wait())
}

// relay prints errors and lines that are not of the log's format, until the log ends.
func (p *process) relay() {
	for p.lines.Scan() {
		var entry struct{ Level string }
		if json.Unmarshal(p.lines.Bytes(), &entry) != nil || entry.Level != "INFO" {
			fmt.Fprintln(os.Stderr, p.lines.Text())
		}
	}
}

func (p *process) pid() int { return p.command.Process.Pid }

func (p *process) signal(s syscall.Signal) error { return p.command.Process.Signal(s) }

func (p *process) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait() // it was killed
}

// resident returns the resident memory of the process, in bytes.
func (p *process) resident() (uint64, error) {
	kib, err := p.status("VmRSS:")
	return kib << 10, err
}

// peak returns the largest resident memory since resetPeak.
func (p *process) peak() (uint64, error) {
	kib, err := p.status("VmHWM:")
	return kib << 10, err
}

// resetPeak resets the peak, proc_pid_clear_refs(5).
func (p *process) resetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid()), []byte("5"), 0)
}

// status reads the number in a line of /proc/PID/status.
func (p *process) status(name string) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(text, []byte("\n"+name))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return strconv.ParseUint(string(bytes.TrimSpace(bytes.TrimSuffix(line, []byte(" kB")))), 10, 54)
}
