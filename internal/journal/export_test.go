package journal

// SetVersion changes the format version of a segment file.
func SetVersion(content []byte, version uint32) {
	f, _ := parseFrame(content)
	f.version = version
	f.append(content[:0])
}
