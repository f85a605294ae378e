package redis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/redis/rueidis"
)

// Redis runs each of these at once, so that nothing comes between. The keys of one are those of one device, which are on one server.
var (
	//go:embed claim.lua
	claimText   string
	claimScript = newScript(claimText)

	//go:embed write.lua
	writeText   string
	writeScript = newScript(writeText)
)

// script is a script and the name by which servers that have it know it.
type script struct{ text, sha string }

func newScript(text string) script {
	sum := sha1.Sum([]byte(text))
	return script{text, hex.EncodeToString(sum[:])}
}

// call returns the command that runs the script for a device.
func (s *Store) call(x script, device string, args ...string) rueidis.Completed {
	state, queue := s.keys(device)
	return s.client.B().Evalsha().Sha1(x.sha).Numkeys(2).Key(state, queue).Arg(args...).Build()
}

// keys returns the names of a device's hash and queue. They have one hash tag, and so one server.
func (s *Store) keys(device string) (state, queue string) {
	tag := s.options.Prefix + "{" + device
	return tag + "}:s", tag + "}:q"
}

// loadScripts gives all servers the scripts.
func (s *Store) loadScripts(ctx context.Context) error {
	var errs []error
	for _, n := range s.client.Nodes() {
		for _, x := range []script{claimScript, writeScript} {
			errs = append(errs, n.Do(ctx, n.B().ScriptLoad().Script(x.text).Build()).Error())
		}
	}
	return errors.Join(errs...)
}

// unknownScript reports whether an error says that a server has not the script: it is new, or was restarted.
func unknownScript(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && e.IsNoScript()
}

// spoilt reports whether an error is because of the device's keys alone: something else is stored there.
func spoilt(err error) bool {
	_, ok := rueidis.IsRedisErr(err)
	return ok && strings.Contains(err.Error(), "WRONGTYPE")
}
