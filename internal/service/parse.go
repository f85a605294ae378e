package service

import (
	"bytes"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// parseAnswer reads the answer at the beginning of b if it is whole and of the common kind: HTTP/1.1, a final status that has a body, one Content-Length of at
// most most bytes, lines that end with CRLF. n is its length, and last reports whether the connection ends with it. Of everything else
// parseAnswer says nothing, a is nil, and net/http has to read it. Answer.Body is a copy.
func parseAnswer(b []byte, most int) (a *Answer, n int, last bool) {
	status, at := parseStatus(b)
	if status == 0 {
		return nil, 0, false
	}
	a = &Answer{Status: status}
	var seen fields
	for {
		line, next := cutLine(b, at)
		if next < 0 {
			return nil, 0, false
		}
		if at = next; len(line) == 0 {
			break
		}
		if !a.parseField(line, &seen) {
			return nil, 0, false
		}
	}
	if !seen.length || seen.size > most || seen.size > len(b)-at {
		return nil, 0, false
	}
	n = at + seen.size
	a.Body = bytes.Clone(b[at:n:n])
	return a, n, seen.last
}

// fields are what parseField has seen of a header.
type fields struct {
	length bool
	size   int  // Content-Length
	last   bool // Connection: close
}

// parseStatus returns the status of a status line, and where the next line begins; 0 if net/http has to read it.
func parseStatus(b []byte) (status, next int) {
	const begin = "HTTP/1.1 "
	line, next := cutLine(b, 0)
	if next < 0 || len(line) < len(begin)+3 || string(line[:len(begin)]) != begin {
		return 0, 0
	}
	line = line[len(begin):]
	if len(line) > 3 && line[3] != ' ' {
		return 0, 0
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, 0
		}
		status = 10*status + int(c-'0')
	}
	if status < 200 || status > 599 || status == 204 || status == 304 { // the others have no body, or none in the way of others
		return 0, 0
	}
	return status, next
}

// cutLine returns the line that begins at a place, and where the next one begins; -1 if there is no end, or one without CR.
func cutLine(b []byte, at int) (line []byte, next int) {
	n := bytes.IndexByte(b[at:], '\n')
	if n < 1 || b[at+n-1] != '\r' {
		return nil, -1
	}
	return b[at : at+n-1], at + n + 1
}

// parseField reads a line of a header, and reports whether it is of the common kind.
func (a *Answer) parseField(line []byte, seen *fields) bool {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 || !plainValue(line) {
		return false
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
	switch len(name) {
	case len("Server"), len("Date"):
		if is(name, "Server") || is(name, "Date") {
			return true
		}
	case len("Connection"): // and Keep-Alive
		if is(name, "Connection") {
			seen.last = seen.last || is(value, "close")
			return is(value, "keep-alive") || is(value, "close")
		}
	case len(contentType):
		if is(name, contentType) {
			return once(&a.ContentType, value)
		}
	case len("Content-Length"): // and Longline-Error
		switch {
		case is(name, "Content-Length"):
			return seen.parseLength(value)
		case is(name, errorHeader):
			return once(&a.Code, value)
		}
	case len(retryHeader):
		if is(name, retryHeader) {
			return once(&a.RetryAfter, value)
		}
	}
	return other(name)
}

// once sets what a header says, and reports whether it is the first of its name and has a value.
func once(to *string, value []byte) bool {
	if *to != "" || len(value) == 0 {
		return false
	}
	*to = string(value)
	return true
}

// parseLength reads Content-Length, and reports whether it is a number and the only one.
func (f *fields) parseLength(value []byte) bool {
	if f.length || len(value) == 0 || len(value) > 9 {
		return false
	}
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
		f.size = 10*f.size + int(c-'0')
	}
	f.length = true
	return true
}

// other reports whether a header of another name changes nothing: neither how the answer is read, nor what is made of it.
func other(name []byte) bool {
	return httpguts.ValidHeaderFieldName(string(name)) && !is(name, "Transfer-Encoding") && !is(name, "Trailer") && !is(name, encodingHeader) &&
		!is(name, "Upgrade") && !is(name, "Proxy-Connection")
}

// is reports whether a name is one of a header, in any case.
func is(name []byte, header string) bool {
	return len(name) == len(header) && strings.EqualFold(string(name), header)
}

// plainValue reports whether a line has printable ASCII and tabs alone, and does not go on from the one before.
func plainValue(line []byte) bool {
	if line[0] <= ' ' {
		return false
	}
	for _, c := range line {
		if c < ' ' && c != '\t' || c > '~' {
			return false
		}
	}
	return true
}
