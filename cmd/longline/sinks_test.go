package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// sinksWorld is a gateway whose sinks are files.
type sinksWorld struct {
	*testing.T
	dir  string
	node *program
}

// configure writes the configuration: a stream whose publishers wait for these sinks.
func (w *sinksWorld) configure(sinks ...string) {
	w.Helper()
	text := "log: {format: json}\nstore: {path: " + filepath.Join(w.dir, "data") + "}\nstreams: {t: {filters: [\"t/#\"], ack: delivered}}\nsinks:\n"
	for _, name := range sinks {
		text += fmt.Sprintf("  %s: {stream: t, file: {path: %s, content: payload}}\n", name, w.file(name))
	}
	if err := os.WriteFile(filepath.Join(w.dir, "longline.yaml"), []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

func (w *sinksWorld) file(sink string) string { return filepath.Join(w.dir, sink+".txt") }

func (w *sinksWorld) start() {
	w.Helper()
	cmd := exec.Command(os.Args[0], "serve", "--config", filepath.Join(w.dir, "longline.yaml"), "--insecure", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	w.node = start(w.T, cmd, 0)
}

// kill ends the program as kill -9 does.
func (w *sinksWorld) kill() {
	w.Helper()
	if err := w.node.cmd.Process.Kill(); err != nil {
		w.Fatal(err)
	}
	_ = w.node.cmd.Wait()
}

func (w *sinksWorld) client() longlinev1connect.GatewayClient {
	return longlinev1connect.NewGatewayClient(http.DefaultClient, "http://"+w.node.admin)
}

// publish publishes a number, and returns when it is answered.
func (w *sinksWorld) publish(ctx context.Context, n int) error {
	text := fmt.Sprint(n)
	m := &longlinev1.Message{Topic: "t/x", Text: &text, Qos: 1}
	_, err := w.client().Publish(ctx, connect.NewRequest(&longlinev1.PublishRequest{Message: m}))
	return err
}

// has reports whether a sink's file has the numbers up to n, each at least once, and in order.
func (w *sinksWorld) has(sink string, n int) bool {
	text, err := os.ReadFile(w.file(sink))
	if err != nil {
		return false
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i+1))
	}
	return slices.Equal(all, want)
}

func (w *sinksWorld) until(what string, reached func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("not after %v: %s", patience, what)
		}
	}
}

// Sinks come and go with the configuration file; publishers wait for them; a kill loses nothing; a pause outlives it.
func TestSinks(t *testing.T) {
	w := &sinksWorld{T: t, dir: t.TempDir()}
	w.configure("a")
	w.start()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for n := range 20 {
		if err := w.publish(ctx, n+1); err != nil {
			t.Fatal(err)
		}
		if !w.has("a", n+1) {
			t.Fatalf("%d is answered before the sink has it", n+1)
		}
	}
	w.configure("a", "b")
	if err := w.node.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	w.until("the new sink has everything", func() bool { return w.has("b", 20) })
	if _, err := w.client().PauseSink(ctx, connect.NewRequest(&longlinev1.PauseSinkRequest{Sink: "b"})); err != nil {
		t.Fatal(err)
	}
	waiting, stop := context.WithCancel(ctx)
	answer := make(chan error, 1)
	go func() { answer <- w.publish(waiting, 21) }()
	w.until("one sink has it", func() bool { return w.has("a", 21) })
	select {
	case err := <-answer:
		t.Fatalf("it is answered while a sink is paused: %v", err)
	default:
	}
	w.kill()
	stop()
	if err := <-answer; err == nil {
		t.Fatal("it is answered although a sink was paused")
	}
	w.start()
	go func() { answer <- w.publish(ctx, 22) }()
	w.until("one sink has it", func() bool { return w.has("a", 22) })
	if w.has("b", 22) || w.has("b", 21) {
		t.Error("the sink is not paused any more")
	}
	if _, err := w.client().ResumeSink(ctx, connect.NewRequest(&longlinev1.ResumeSinkRequest{Sink: "b"})); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err != nil || !w.has("b", 22) {
		t.Fatal(err)
	}
	w.node.signal()
	var exit *exec.ExitError
	if err := w.node.cmd.Wait(); errors.As(err, &exit) {
		t.Error(err)
	}
}
