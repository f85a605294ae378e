package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// eachLine calls take with each line of a text, except for empty lines and lines that begin with
// #. It stops at the first error, which names the line.
func eachLine(text []byte, take func(line string) error) error {
	n := 0
	for raw := range bytes.Lines(text) {
		n++
		line := strings.TrimSpace(string(raw))
		if line == "" || line[0] == '#' {
			continue
		}
		if err := take(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

// digest is the SHA-256 of a token. Tokens are random and long, so one round without
// salt is enough. The digest is the key of the look-up, so the duration of a
// look-up reveals something about the digest at most, and nothing about the token.
type digest [sha256.Size]byte

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

// id names a token in logs and revocations, by the first 16 digits of its digest.
func (d digest) id() string { return "sha256:" + hex.EncodeToString(d[:8]) }

// grant is one line of a tokens file: the subject, a device pattern or a role, and
// the name in logs.
type grant struct{ subject, name string }

// parseGrants reads lines of "subject sha256:hex [name]" into a table by digest; check
// returns what is wrong with a subject.
func parseGrants(text []byte, check func(subject string) error) (map[digest]grant, error) {
	table := make(map[digest]grant)
	err := eachLine(text, func(line string) error {
		fields := strings.Fields(line)
		if len(fields) < 2 || len(fields) > 3 {
			return errors.New("want a subject, sha256:hex and optionally a name")
		}
		if err := check(fields[0]); err != nil {
			return err
		}
		d, err := parseDigest(fields[1])
		if err != nil {
			return err
		}
		if _, twice := table[d]; twice {
			return errors.New("the same token is on an earlier line")
		}
		name := d.id()
		if len(fields) == 3 {
			name = fields[2]
		}
		table[d] = grant{fields[0], name}
		return nil
	})
	return table, err
}

func parseDigest(s string) (d digest, err error) {
	digits, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(digits) != hex.EncodedLen(len(d)) {
		return d, errors.New("want sha256: and 64 hexadecimal digits")
	}
	if _, err := hex.Decode(d[:], []byte(digits)); err != nil {
		return d, errors.New("want sha256: and 64 hexadecimal digits")
	}
	return d, nil
}
