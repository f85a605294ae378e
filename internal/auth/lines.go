package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// eachLine calls take with each line of a text, without those that are empty or begin with
// #. It stops at the first error and says in which line that is.
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

// digest is the SHA-256 of a token. Tokens are random and long, so that one round without
// salt is enough: there is nothing to guess. It is what is looked up, so what the time of a
// look-up tells is about the digest, from which nothing follows about the token.
type digest [sha256.Size]byte

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

// id names a token in logs and for its revocation, by the first 16 digits.
func (d digest) id() string { return "sha256:" + hex.EncodeToString(d[:8]) }

// grant is a line of a tokens file: for whom the token with this digest is, as a device
// pattern or a role, and the name that logs give it.
type grant struct{ subject, name string }

// parseGrants reads lines of "subject sha256:hex [name]" into a table by digest; check
// judges subjects.
func parseGrants(text []byte, check func(subject string) error) (map[digest]grant, error) {
	table := make(map[digest]grant)
	err := eachLine(text, func(line string) error {
		fields := strings.Fields(line)
		if len(fields) < 2 || len(fields) > 3 {
			return errors.New("want a subject, sha256:hex and, if you like, a name")
		}
		if err := check(fields[0]); err != nil {
			return err
		}
		d, err := parseDigest(fields[1])
		if err != nil {
			return err
		}
		if _, twice := table[d]; twice {
			return errors.New("the same token is in an earlier line")
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
