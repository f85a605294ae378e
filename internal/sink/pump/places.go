package pump

// places are the entries of a feed that were read, from the oldest that is not done on.
type places struct {
	low      uint64 // all entries before it are done
	line     []span // entries from low on, in order; the first is not done
	left     uint64 // how many spans have left the line: the number of its first
	messages int    // in the line
	bytes    int
}

// span is one entry, or several that are done, with what is missing before them.
type span struct {
	up       uint64 // the place behind it
	messages int
	bytes    int
	done     bool
}

// add adds an entry behind those that were added before; entries that are missing between them are done. It returns the entry's number for
// finish, if it is not done.
func (p *places) add(place uint64, bytes int, done bool) (number uint64) {
	last := len(p.line) - 1
	switch {
	case done && last < 0:
		p.low = place + 1
		return 0
	case done && p.line[last].done:
		s := &p.line[last]
		s.up, s.messages, s.bytes = place+1, s.messages+1, s.bytes+bytes
	default:
		if last < 0 {
			p.low = place
		}
		p.line = append(p.line, span{place + 1, 1, bytes, done})
	}
	p.messages, p.bytes = p.messages+1, p.bytes+bytes
	return p.left + uint64(len(p.line)-1)
}

// finish makes the entry of that number done.
func (p *places) finish(number uint64) {
	p.line[number-p.left].done = true
	for len(p.line) > 0 && p.line[0].done {
		s := p.line[0]
		p.line, p.left = p.line[1:], p.left+1
		p.low, p.messages, p.bytes = s.up, p.messages-s.messages, p.bytes-s.bytes
	}
	if len(p.line) == 0 {
		p.line = p.line[:0]
	}
}

// upTo returns what low will be when the entries up to that number are done.
func (p *places) upTo(number uint64) uint64 {
	i := int(number - p.left)
	for i+1 < len(p.line) && p.line[i+1].done {
		i++
	}
	return p.line[i].up
}

// next returns the place behind the entries that were added; 0 before the first.
func (p *places) next() uint64 {
	if n := len(p.line); n > 0 {
		return p.line[n-1].up
	}
	return p.low
}
