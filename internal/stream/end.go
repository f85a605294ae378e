package stream

// End returns the place behind the newest entry.
func (s *Stream) End() uint64 { return s.Info().End }
