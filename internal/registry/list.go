package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/longline/longline/internal/reload"
)

// list finds the instances that the configuration names.
type list []string

func (l *list) given() bool { return len(*l) > 0 }

func (l *list) setDefaults() {}

func (l *list) validate(key string) error {
	for i, text := range *l {
		if _, err := parseURL(text); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if slices.Contains((*l)[:i], text) {
			return fmt.Errorf("%s: %s is listed twice", key, text)
		}
	}
	return nil
}

func (l *list) open(*reload.Watcher) (Discovery, error) { return l, nil }

func (l *list) Find(context.Context) ([]Instance, error) {
	all := make([]Instance, len(*l))
	for i, text := range *l {
		all[i] = Instance{URL: strings.TrimSuffix(text, "/"), Weight: 1}
	}
	return all, nil
}

func (l *list) Pause() time.Duration { return time.Hour }

func (l *list) Close() {}
