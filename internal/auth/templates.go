package auth

import (
	"strings"
	"sync"
)

// maxTemplates bounds the permissions that devices share.
const maxTemplates = 1024

// templates are the permissions that credentials contain, by their text. The tokens of a fleet mostly differ only in
// the device's id, for which {device} stands here, so their devices share one template. Beyond the bound
// each device has its own. Safe from any goroutine.
type templates struct {
	mu     sync.Mutex
	byText map[string]*Permissions
}

// of returns the permissions of a device whose credential contains f.
func (t *templates) of(f Filters, device string) (*Permissions, error) {
	var text strings.Builder
	for _, list := range []*[]string{&f.Publish, &f.Subscribe} {
		general := make([]string, len(*list))
		for i, filter := range *list {
			general[i] = generalize(filter, device)
			text.WriteString(general[i])
			text.WriteByte(0) // no filter contains it
		}
		*list = general
		text.WriteByte(0)
	}
	for _, name := range f.Call {
		text.WriteString(name)
		text.WriteByte(0)
	}
	t.mu.Lock()
	p, known := t.byText[text.String()]
	t.mu.Unlock()
	if known {
		return p, nil
	}
	p, err := NewPermissions(f)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byText == nil {
		t.byText = make(map[string]*Permissions)
	}
	if len(t.byText) < maxTemplates {
		t.byText[text.String()] = p
	}
	return p, nil
}

// generalize replaces the levels of a filter that equal the device's id by {device}.
func generalize(filter, device string) string {
	if device == "" || !strings.Contains(filter, device) { // a credential for any device names none
		return filter
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		if level == device {
			levels[i] = deviceLevel
		}
	}
	return strings.Join(levels, "/")
}
