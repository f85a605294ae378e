package limit

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Prefixes are limits for the devices whose ids begin with a prefix. The longest matching prefix counts.
type Prefixes []Prefix

// Prefix is the limit for the devices whose ids begin with Text.
type Prefix struct {
	Text  string
	Limit int64
}

// ParsePrefixes reads a list of prefix=limit. A limit of 0 admits no device.
func ParsePrefixes(list []string) (Prefixes, error) {
	all := make(Prefixes, 0, len(list))
	for _, s := range list {
		text, number, _ := strings.Cut(s, "=")
		limit, err := strconv.ParseUint(number, 10, 31)
		if text == "" || err != nil {
			return nil, fmt.Errorf("%q: want prefix=limit such as demo-=100", s)
		}
		all = append(all, Prefix{text, int64(limit)})
	}
	slices.SortFunc(all, func(a, b Prefix) int {
		return cmp.Or(len(b.Text)-len(a.Text), strings.Compare(a.Text, b.Text))
	})
	for i := 1; i < len(all); i++ {
		if all[i].Text == all[i-1].Text {
			return nil, fmt.Errorf("%q is listed twice", all[i].Text)
		}
	}
	return all, nil
}

// Find returns the index of the longest prefix of a device's id, or -1.
func (p Prefixes) Find(device string) int {
	return slices.IndexFunc(p, func(x Prefix) bool { return strings.HasPrefix(device, x.Text) })
}
