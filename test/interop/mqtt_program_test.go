package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// programs is a client that consists of a program to subscribe and one to publish, with the input and output of
// mosquitto_sub and mosquitto_pub. The former prints a line that begins with Subscribed
// when the broker has granted the subscription, and a JSON object per message. The latter publishes each line of
// its input, and succeeds when all are acknowledged.
type programs struct {
	subscriber func(subscription) []string // command lines
	publisher  func(publication) []string

	leavesWill bool // the subscriber leaves with reason code 0x04
	givesUp    bool // a cut at a bad time ends the publisher, which then has to publish everything again
}

// childProcess makes a process end with this one, even if this one is killed.
func childProcess(ctx context.Context, line []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (p programs) subscribe(ctx context.Context, t *testing.T, s subscription) *subscriber {
	t.Helper()
	cmd := childProcess(ctx, p.subscriber(s))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: run make deps", err)
	}
	granted, messages, ended := make(chan struct{}), make(chan message, buffered), make(chan struct{})
	go func() {
		defer close(ended)
		readSubscriber(ctx, t, stdout, granted, messages)
		_ = cmd.Wait()
	}()
	leave := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}
	t.Cleanup(leave)
	receive(ctx, t, "a subscription", granted)
	return &subscriber{messages, leave, p.leavesWill}
}

// readSubscriber reads the output of a subscriber.
func readSubscriber(ctx context.Context, t *testing.T, stdout io.Reader, granted chan<- struct{}, messages chan<- message) {
	again := false // a client that reconnects may subscribe again
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		t.Logf("%s", lines.Bytes())
		switch line := lines.Bytes(); {
		case bytes.HasPrefix(line, []byte("{")):
			var m message
			if err := json.Unmarshal(line, &m); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			select {
			case messages <- m:
			case <-ctx.Done():
			}
		case bytes.HasPrefix(line, []byte("Subscribed")) && !again:
			again = true
			close(granted)
		}
	}
}

func (p programs) resumes(qos int) bool { return !p.givesUp || qos == 1 }

func (p programs) publish(ctx context.Context, t *testing.T, pub publication) {
	t.Helper()
	for {
		cmd := childProcess(ctx, p.publisher(pub))
		cmd.Stdin = strings.NewReader(strings.Join(pub.payloads, "\n"))
		out, err := cmd.CombinedOutput()
		if err == nil {
			return
		}
		if !p.givesUp || !p.resumes(pub.message.QoS) || ctx.Err() != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
}
