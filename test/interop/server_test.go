package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// server is a running gateway.
type server struct {
	devices, mqtt, admin string // addresses
	cmd                  *exec.Cmd
	drained              chan struct{} // closed at the end of its log
	cancel               context.CancelFunc
}

// build builds the program in dir.
func build(dir string) (string, error) {
	program := filepath.Join(dir, "longline")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/longline").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
}

// serve starts a gateway on ports that the kernel chooses. It ends with this
// process, or after four minutes. config is the content of its configuration file, which is in dir.
func serve(program, dir, config string) (*server, error) {
	file := filepath.Join(dir, "longline.yaml")
	if err := os.WriteFile(file, []byte("log: {format: json}\n"+config), 0o600); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	cmd := childProcess(ctx, []string{program, "serve", "--config", file, "--insecure",
		"--listen", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0"})
	s := &server{cmd: cmd, drained: make(chan struct{}), cancel: cancel}
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	lines := bufio.NewScanner(log)
	if err == nil {
		err = s.listening(lines)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer close(s.drained)
		for lines.Scan() {
			fmt.Println(lines.Text())
		}
	}()
	return s, nil
}

// listening reads the gateway's log up to its addresses.
func (s *server) listening(log *bufio.Scanner) error {
	for log.Scan() {
		var entry struct{ Msg, Devices, MQTT, Admin string }
		if json.Unmarshal(log.Bytes(), &entry) == nil && entry.Msg == "listening" {
			s.devices, s.mqtt, s.admin = entry.Devices, entry.MQTT, entry.Admin
			return nil
		}
		fmt.Println(log.Text())
	}
	return errors.Join(errors.New("the gateway ended before it was listening"), log.Err())
}

// stop makes the gateway drain. It returns an error if the gateway did not end with exit code 0.
func (s *server) stop() error {
	defer s.cancel()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-s.drained
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("the gateway after SIGTERM: %w", err)
	}
	return nil
}
