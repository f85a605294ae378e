package store

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/longline/longline/internal/message"
)

// RetainedFull is why a message is not retained. It wraps ErrFull.
type RetainedFull struct {
	Of     string // whose bound the message would pass: OfNode, OfDevice or OfPrefix
	reason string
}

// Values of RetainedFull.Of.
const (
	OfNode   = "node"
	OfDevice = "device"
	OfPrefix = "prefix"
)

func (e *RetainedFull) Error() string { return e.reason }
func (*RetainedFull) Unwrap() error   { return ErrFull }

// usage is a number of retained messages, and their bytes.
type usage struct{ count, bytes int }

// add adds n messages of a size.
func (u *usage) add(size, n int) {
	u.count += n
	u.bytes += n * size
}

// exceeds returns the bound that u passes, in words, or nothing.
func (u usage) exceeds(most usage) string {
	switch {
	case u.count > most.count:
		return fmt.Sprintf("%d retained messages", most.count)
	case u.bytes > most.bytes:
		return fmt.Sprintf("%d bytes of retained messages", most.bytes)
	}
	return ""
}

// shares count the retained messages per device and per prefix, and bound them. Messages of backends count only in the
// whole.
type shares struct {
	// Static after construction.
	perDevice usage
	prefixes  []*prefixShare // longest first
	seed      maphash.Seed

	byDevice map[uint64]usage // by the hash of the ID; only devices that have any
}

// prefixShare is the share of the devices whose IDs begin with text.
type prefixShare struct {
	text string
	most usage
	used usage
}

func newShares(l RetainedLimits) shares {
	s := shares{perDevice: l.percent(l.PerDevice), seed: maphash.MakeSeed(), byDevice: make(map[uint64]usage)}
	for _, text := range l.PerPrefix {
		if p, percent, err := parseShare(text); err == nil { // Validate has refused others
			s.prefixes = append(s.prefixes, &prefixShare{text: p, most: l.percent(percent)})
		}
	}
	slices.SortFunc(s.prefixes, func(a, b *prefixShare) int { return cmp.Compare(len(b.text), len(a.text)) })
	return s
}

// percent returns n percent of the limits, with room for at least one message.
func (l RetainedLimits) percent(n int) usage {
	return usage{max(1, l.Count*n/100), l.Bytes * n / 100}
}

// Validate returns what is wrong with o. The error begins with the key.
func (o Options) Validate() error {
	const least = 1 << 30
	switch {
	case o.MaxBytes != 0 && o.MaxBytes < least:
		return fmt.Errorf("max_bytes: want 1GiB or more, not %d bytes", o.MaxBytes)
	case o.SecondPath != "" && o.Path == "":
		return errors.New("second_path: needs store.path, which it is the second one to")
	case o.SecondPath != "" && (within(o.Path, o.SecondPath) || within(o.SecondPath, o.Path)):
		return fmt.Errorf("second_path: want another directory, on another disk, that is not in store.path, %q, nor around it", o.Path)
	}
	if n := o.Retained.PerDevice; n < 0 || n > 100 {
		return fmt.Errorf("retained.per_device: want 1 to 100 percent, not %d", n)
	}
	for _, s := range o.Retained.PerPrefix {
		if _, _, err := parseShare(s); err != nil {
			return fmt.Errorf("retained.per_prefix: %w", err)
		}
	}
	return nil
}

// within reports whether a path is a directory or in it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

var errShare = errors.New("want prefix=percent such as demo-=5")

func parseShare(s string) (prefix string, percent int, err error) {
	at := strings.LastIndexByte(s, '=')
	if at <= 0 {
		return "", 0, fmt.Errorf("%q: %w", s, errShare)
	}
	percent, err = strconv.Atoi(s[at+1:])
	if err != nil || percent < 0 || percent > 100 {
		return "", 0, fmt.Errorf("%q: %w", s, errShare)
	}
	return s[:at], percent, nil
}

func (s *shares) prefix(device string) *prefixShare {
	for _, p := range s.prefixes {
		if strings.HasPrefix(device, p.text) {
			return p
		}
	}
	return nil
}

// room returns an error that names the share that m would pass if it replaced old, which may be nil.
func (s *shares) room(m *message.Message, old *Kept) error {
	if m.Source == "" {
		return nil
	}
	after := s.byDevice[s.key(m.Source)]
	after.add(m.Size(), 1)
	if old != nil && old.Source == m.Source {
		after.add(old.Size(), -1)
	}
	if over := after.exceeds(s.perDevice); over != "" {
		return &RetainedFull{OfDevice, "a device may have " + over}
	}
	p := s.prefix(m.Source)
	if p == nil {
		return nil
	}
	after = p.used
	after.add(m.Size(), 1)
	if old != nil && s.prefix(old.Source) == p {
		after.add(old.Size(), -1)
	}
	if over := after.exceeds(p.most); over != "" {
		return &RetainedFull{OfPrefix, fmt.Sprintf("the devices of the prefix %s may have %s", p.text, over)}
	}
	return nil
}

// count adds k n times, where n is 1 or -1.
func (s *shares) count(k *Kept, n int) {
	if k.Source == "" {
		return
	}
	key := s.key(k.Source)
	u := s.byDevice[key]
	if u.add(k.Size(), n); u.count == 0 {
		delete(s.byDevice, key)
	} else {
		s.byDevice[key] = u
	}
	if p := s.prefix(k.Source); p != nil {
		p.used.add(k.Size(), n)
	}
}

func (s *shares) key(device string) uint64 { return maphash.String(s.seed, device) }
