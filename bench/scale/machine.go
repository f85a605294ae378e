package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// kernel is the kernel's use of memory, for the whole machine, in bytes.
type kernel struct {
	slab      float64 // sockets, files, epoll items
	tables    float64 // page tables
	tcp       float64 // bytes in the buffers of TCP sockets
	vmalloc   float64 // among others, descriptor tables
	available float64 // memory that is still available
}

// memoryOfKernel reads /proc/meminfo and /proc/net/sockstat.
func memoryOfKernel() (kernel, error) {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return kernel{}, err
	}
	sockets, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return kernel{}, err
	}
	_, pages, _ := bytes.Cut(line(sockets, "TCP:"), []byte("mem "))
	return kernel{
		slab:      1024 * number(line(info, "Slab:")),
		tables:    1024 * number(line(info, "PageTables:")),
		vmalloc:   1024 * number(line(info, "VmallocUsed:")),
		available: 1024 * number(line(info, "MemAvailable:")),
		tcp:       float64(os.Getpagesize()) * number(pages),
	}, nil
}

// line returns what follows the name at the start of a line.
func line(text []byte, name string) []byte {
	for l := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(l, []byte(name)); ok {
			return rest
		}
	}
	return nil
}

// number reads the first word of b as a number; it returns 0 if it is none.
func number(b []byte) float64 {
	fields := bytes.Fields(b)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseFloat(string(fields[0]), 64)
	return n
}

// spare is how much memory must stay available on the machine.
const spare = 1 << 30

var errMemory = errors.New("less than 1 GiB of the machine's memory is left")

// guardMemory returns a ctx that it ends when the machine runs short of memory.
func guardMemory(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for tick := time.Tick(200 * time.Millisecond); ctx.Err() == nil; {
			select {
			case <-tick:
			case <-ctx.Done():
				return
			}
			if k, err := memoryOfKernel(); err == nil && k.available < spare {
				cancel(errMemory)
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// overflows returns how often the kernel dropped a connection because a backlog was full:
// /proc/net/netstat, TcpExt ListenOverflows.
func overflows() (float64, error) {
	text, err := os.ReadFile("/proc/net/netstat")
	if err != nil {
		return 0, err
	}
	names, rest, _ := strings.Cut(string(text), "\n")
	values, _, _ := strings.Cut(rest, "\n")
	all := strings.Fields(values)
	for i, name := range strings.Fields(names) {
		if name == "ListenOverflows" && i < len(all) {
			return strconv.ParseFloat(all[i], 64)
		}
	}
	return 0, fmt.Errorf("/proc/net/netstat has no ListenOverflows")
}

// limits returns the settings of the machine that bound how many devices fit.
func limits() string {
	var b strings.Builder
	for _, name := range []string{"fs/file-max", "fs/nr_open", "net/ipv4/tcp_mem", "net/ipv4/ip_local_port_range", "net/core/somaxconn"} {
		value, _ := os.ReadFile("/proc/sys/" + name)
		fmt.Fprintf(&b, "%s=%s ", strings.ReplaceAll(name, "/", "."), strings.Join(strings.Fields(string(value)), ","))
	}
	return strings.TrimSpace(b.String())
}
