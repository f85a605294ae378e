package websocket

// Classes of characters in HTTP.
const (
	tokenChar  = 1 << iota // RFC 9110 §5.6.2
	valueChar              // RFC 9110 §5.5: visible, obs-text, space and tab
	targetChar             // RFC 9112 §3.2: visible ASCII; a fragment is not allowed
)

var charClass = func() (t [256]uint8) {
	for b := '0'; b <= '9'; b++ {
		t[b] |= tokenChar
	}
	for b := 'a'; b <= 'z'; b++ {
		t[b] |= tokenChar
		t[b-'a'+'A'] |= tokenChar
	}
	for _, b := range "!#$%&'*+-.^_`|~" {
		t[b] |= tokenChar
	}
	for b := range t {
		if b == '\t' || b >= ' ' && b != 0x7F {
			t[b] |= valueChar
		}
		if b > ' ' && b < 0x7F && b != '#' {
			t[b] |= targetChar
		}
	}
	return t
}()

func inClass(b byte, class uint8) bool { return charClass[b]&class != 0 }

func allIn(p []byte, class uint8) bool {
	for _, b := range p {
		if !inClass(b, class) {
			return false
		}
	}
	return len(p) > 0
}

func isToken(p []byte) bool { return allIn(p, tokenChar) }

// trim removes optional white space at both ends, RFC 9110 §5.6.3.
func trim(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\t') {
		p = p[1:]
	}
	for len(p) > 0 && (p[len(p)-1] == ' ' || p[len(p)-1] == '\t') {
		p = p[:len(p)-1]
	}
	return p
}

// foldEqual reports whether p equals s, which is lower-case ASCII, regardless of case.
func foldEqual(p []byte, s string) bool {
	if len(p) != len(s) {
		return false
	}
	for i, b := range p {
		if b != s[i] && lower(b) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(b byte) byte {
	if b >= 'A' && b <= 'Z' {
		return b + ('a' - 'A')
	}
	return b
}
