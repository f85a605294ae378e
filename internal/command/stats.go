package command

// Stats counts what the manager did since it was opened.
type Stats struct {
	States [numStates]int    // commands that are kept, by state
	Bytes  int               // of Config.MaxBytes
	Kept   int               // of Config.MaxEndedBytes
	Ended  [numStates]uint64 // commands that ended, by state

	Created   uint64
	Refused   uint64 // requests that made no command
	Sent      uint64 // calls that were written to connections
	Late      uint64 // answers that came after the end
	Ignored   uint64 // answers that changed nothing: repeated ones, and those to commands that were never sent
	Omitted   uint64 // payloads of answers that are not kept, because they are too large
	Forgotten uint64 // ended commands that were not kept for Config.Keep, because there were too many
	Lost      uint64 // commands that the store could not give back
}

// Stats returns the counts.
func (m *Manager) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Bytes, s.Kept = m.bytes, m.kept
	return s
}

// EachState calls f for every state of a command.
func EachState(f func(State)) {
	for s := Queued; s < numStates; s++ {
		f(s)
	}
}
