package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// clockVariable is the name of the environment variable that says by how many seconds the clock of a node is wrong.
const clockVariable = "LONGLINE_CHAOS_CLOCK"

// buildLongline builds a gateway whose clock can be wrong: a copy of package time adds the seconds of clockVariable to what the clock on
// the wall says. The monotonic clock stays as it is, as on a machine whose clock is set wrong.
func buildLongline(ctx context.Context, folder string) (program string, err error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(out)), "src/time/time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	const call = "sec, nsec, mono := runtimeNow()\n"
	begin := strings.Index(string(text), "\nfunc Now() Time {\n")
	at := strings.Index(string(text[max(begin, 0):]), call)
	if begin < 0 || at < 0 {
		return "", errors.New("time.Now is not as expected")
	}
	at += begin + len(call)
	files := map[string]string{
		original: string(text[:at]) + "\tsec += wrong\n" + string(text[at:]),
		filepath.Join(filepath.Dir(original), "wrong.go"): `package time

import "syscall"

var wrong = readWrong()

func readWrong() (n int64) {
	text, _ := syscall.Getenv("` + clockVariable + `")
	negative := len(text) > 0 && text[0] == '-'
	for _, c := range text {
		if c >= '0' && c <= '9' {
			n = 10*n + int64(c-'0')
		}
	}
	if negative {
		n = -n
	}
	return n
}
`,
	}
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for name, text := range files {
		copied := filepath.Join(folder, filepath.Base(name))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay.Replace[name] = copied
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	listed := filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(listed, b, 0o600); err != nil {
		return "", err
	}
	program = filepath.Join(folder, "longline")
	if out, err := exec.CommandContext(ctx, "go", "build", "-overlay", listed, "-o", program, "./cmd/longline").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
}
