package stream

// End returns the place behind the newest entry that is safe.
func (s *Stream) End() uint64 { return uint64(s.journal.End()) }
