package redis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// Redis runs each of these at once, so that nothing comes between. The keys of one device are on one server.
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

// claimCommand returns the command that claims a device.
func (s *Store) claimCommand(device string, args ...string) rueidis.Completed {
	state, queue := s.keys(device)
	return s.client.B().Evalsha().Sha1(claimScript.sha).Numkeys(2).Key(state, queue).Arg(args...).Build()
}

// writeCommand returns the command that makes some writes, which have a number.
func (s *Store) writeCommand(some []write, number uint64) rueidis.Completed {
	keys := make([]string, 0, 2*len(some))
	n := 2
	for i := range some {
		state, queue := s.keys(some[i].of.device)
		keys = append(keys, state, queue)
		n += some[i].names()
	}
	text := strconv.FormatUint(number, 10)
	args := append(make([]string, 0, n), s.options.Owner, text)
	for i := range some {
		args = some[i].appendArgs(args, text)
	}
	return s.client.B().Evalsha().Sha1(writeScript.sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
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

// spoilt reports whether Redis says that something else is stored under a device's keys.
func spoilt(text string) bool { return strings.Contains(text, "WRONGTYPE") }
