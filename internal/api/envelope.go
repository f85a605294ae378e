package api

import (
	"errors"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/protofield"
)

// maxExchanged bounds a request and an answer between nodes, in bytes.
const maxExchanged = 1 << 20

// envelope is a request to another node: what a client asked, and who it is. The fields have protobuf's wire format, so that nodes of two versions
// understand each other while a cluster is updated; a number is never reused.
type envelope struct {
	caller auth.Caller
	header http.Header
	body   []byte
}

const (
	fieldBody  protowire.Number = 1
	fieldRole  protowire.Number = 2
	fieldID    protowire.Number = 3 // of the caller's token
	fieldName  protowire.Number = 4 // of the caller
	fieldText  protowire.Number = 5 // the client wants payloads as text
	fieldTrace protowire.Number = 6
)

var errEnvelope = errors.New("a request between nodes cannot be read")

func (e *envelope) append(dst []byte) []byte {
	dst = protofield.AppendText(dst, fieldBody, e.body)
	dst = protofield.AppendNumber(dst, fieldRole, uint64(e.caller.Role))
	dst = protofield.AppendText(dst, fieldID, e.caller.ID)
	dst = protofield.AppendText(dst, fieldName, e.caller.Name)
	dst = protofield.AppendNumber(dst, fieldText, protowire.EncodeBool(e.header.Get("Content-Type") != ""))
	return protofield.AppendText(dst, fieldTrace, e.header.Get("traceparent"))
}

// openEnvelope reads a request. Its body is a view of p.
func openEnvelope(p []byte) (e envelope, err error) {
	e.header = make(http.Header)
	err = protofield.Each(p, errEnvelope, func(f *protofield.Value) error {
		switch f.Num {
		case fieldBody:
			e.body = f.Body()
		case fieldRole:
			e.caller.Role = auth.Role(f.Within(uint64(auth.Admin)))
		case fieldID:
			e.caller.ID = strings.Clone(f.Text())
		case fieldName:
			e.caller.Name = strings.Clone(f.Text())
		case fieldText:
			if f.Within(1) == 1 {
				e.header.Set("Content-Type", "application/json")
			}
		case fieldTrace:
			e.header.Set("traceparent", strings.Clone(f.Text()))
		}
		return nil
	})
	return e, err
}

// An answer is a code, 0 if all is well, and behind it the response, or the error's text.

// appendAnswer returns the answer that says response or err.
func appendAnswer(response []byte, err error) []byte {
	if err == nil && len(response) >= maxExchanged {
		err = exhausted("the answer has %d bytes: nodes send each other at most %d", len(response), maxExchanged)
	}
	if err == nil {
		return append([]byte{0}, response...)
	}
	return append([]byte{byte(connect.CodeOf(err))}, messageOf(err)...)
}

// openAnswer returns the response, or the error with its code.
func openAnswer(answer []byte) (response []byte, err error) {
	switch {
	case len(answer) == 0 || answer[0] > byte(connect.CodeUnauthenticated):
		return nil, errors.New("it is no answer")
	case answer[0] > 0:
		return nil, connect.NewError(connect.Code(answer[0]), errors.New(strings.ToValidUTF8(string(answer[1:]), "?")))
	}
	return answer[1:], nil
}
