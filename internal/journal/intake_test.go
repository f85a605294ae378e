package journal

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// TestIntakeInAllOrders walks through all orders of an intake's events: records and fences that are
// appended, batches that are taken, written, or lost, the recovery of the disk, and the end. It compares the intake with a disk that
// is a list.
func TestIntakeInAllOrders(t *testing.T) {
	const depth = 9
	var walk func(events []string)
	count := 0
	walk = func(events []string) {
		m := newIntakeModel(t, events)
		next := m.possible()
		count++
		if len(events) == depth {
			m.drain()
			return
		}
		for _, e := range next {
			walk(append(slices.Clip(events), e))
		}
	}
	walk(nil)
	t.Logf("%d orders", count)
}

var errDisk = errors.New("disk")

// intakeModel is an intake together with what must be true of it.
type intakeModel struct {
	t      *testing.T
	events []string
	in     *intake
	busy   bool // a batch is taken and not released
	failed bool

	serial int
	handed []string         // not yet called, in order; fences too
	places map[string]Place // of the records in handed
	disk   []string         // what is written, by place - 1
	room   int              // how often refused callers were told that there is room
	owed   bool             // a caller was refused and not told yet
}

func newIntakeModel(t *testing.T, events []string) *intakeModel {
	m := &intakeModel{t: t, events: events, in: newIntake(30, 1), places: map[string]Place{}}
	for _, e := range events {
		m.do(e)
	}
	return m
}

func (m *intakeModel) possible() []string {
	all := []string{"append", "fence"}
	if m.busy {
		all = append(all, "written", "lost")
	} else {
		all = append(all, "take")
	}
	if m.failed {
		all = append(all, "heal")
	}
	return all
}

func (m *intakeModel) fatal(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%v: %s", m.events, fmt.Sprintf(format, args...))
}

func (m *intakeModel) do(event string) {
	m.serial++
	name := fmt.Sprint(m.serial)
	switch event {
	case "append":
		place, err := m.in.append(recordPrefix(1, []byte(name)), []byte(name), m.claim(name))
		m.handedOver(name, err)
		if err == nil {
			m.places[name] = place
			if want := Place(len(m.disk) + len(m.places)); place != want {
				m.fatal("place %d, not %d", place, want)
			}
		}
	case "fence":
		m.handedOver(name, m.in.fence(m.claim(name)))
	case "take":
		b, room := m.in.take()
		if b == nil && len(m.handed) > 0 {
			m.fatal("%v wait and nothing is taken", m.handed)
		}
		m.busy = b != nil
		m.told(room)
	case "written", "lost":
		m.settle(event == "written")
	case "heal":
		m.failed = false
		m.told(m.in.heal())
	}
}

func (m *intakeModel) told(room bool) {
	if room {
		m.room++
		m.owed = false
	}
}

// handedOver checks whether the intake should have accepted something.
func (m *intakeModel) handedOver(name string, err error) {
	switch {
	case err == nil && m.failed:
		m.fatal("accepted after a failure")
	case m.failed && !errors.Is(err, errDisk):
		m.fatal("refused by %v after a failure", err)
	case err == nil:
		m.handed = append(m.handed, name)
	default:
		m.owed = true
	}
}

// claim checks that a claim is called in order, with the right result.
func (m *intakeModel) claim(name string) func(error) {
	return func(err error) {
		if len(m.handed) == 0 || m.handed[0] != name {
			m.fatal("%s is told while %v wait", name, m.handed)
		}
		m.handed = m.handed[1:]
		place := m.places[name]
		delete(m.places, name)
		if err == nil && place != 0 && m.disk[place-1] != name {
			m.fatal("%s is told to be safe", name)
		}
		if err != nil && !m.failed {
			m.fatal("%s is refused by a disk that is well", name)
		}
	}
}

func (m *intakeModel) settle(ok bool) {
	b, err := m.in.writing, errDisk
	if ok {
		err = nil
		if b.first != Place(len(m.disk)+1) {
			m.fatal("a batch from place %d behind %d records", b.first, len(m.disk))
		}
		for rest := b.buf[headSize:]; len(rest) > 0; {
			record, after, good, _ := cutRecord(1, rest)
			if !good {
				m.fatal("a batch of bad records")
			}
			m.disk, rest = append(m.disk, string(record)), after
		}
	}
	m.failed = m.failed || !ok
	for _, done := range m.in.settle(err) {
		done(err)
	}
	m.in.release()
	m.busy = false
	if !ok && len(m.handed) > 0 {
		m.fatal("%v are not told of the failure", m.handed)
	}
	if m.in.safe != Place(len(m.disk)+1) {
		m.fatal("safe before %d with %d records on the disk", m.in.safe, len(m.disk))
	}
}

// drain lets everything end well: every claim must be called.
func (m *intakeModel) drain() {
	if m.busy {
		m.settle(true)
	}
	if m.failed {
		m.do("heal")
	}
	if m.do("take"); m.busy {
		m.settle(true)
	}
	if len(m.handed) > 0 {
		m.fatal("%v are never told", m.handed)
	}
	if m.owed {
		m.fatal("who was refused never hears that there is room")
	}
}

func TestIntakeBounds(t *testing.T) {
	in := newIntake(32, 1)
	if _, err := in.append(recordPrefix(1, nil), make([]byte, 25), nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a record larger than all that may wait: %v", err)
	}
	for range 4 {
		if _, err := in.append(recordPrefix(1, nil), nil, func(error) {}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.append(recordPrefix(1, nil), nil, nil); !errors.Is(err, ErrFull) {
		t.Errorf("a fifth record of 8 bytes: %v", err)
	}
	if err := in.fence(func(error) {}); !errors.Is(err, ErrFull) {
		t.Errorf("a fifth claim: %v", err)
	}
	if _, room := in.take(); !room {
		t.Error("who was refused is not told that there is room")
	}
}
