// Package websocket is RFC 6455 and RFC 7692 as a codec: bytes in, events and bytes out.
// It does no I/O and starts no goroutine; both sides of the protocol are here.
//
// The flow of a connection, server side:
//
//	ParseRequest   until the request's header is complete
//	AppendUpgrade  or AppendHTTPError, the answer
//	Reader.Next    over every read, until it reports no event
//	AppendFrame    or AppendCompressed, AppendClose: what goes back
//	Reader.Release when the connection is gone
//
// and client side AppendRequest, ParseResponse, Reader.Next, AppendMaskedFrame.
//
// The close handshake (RFC 6455 §7.1) is the caller's: a Close event is answered with
// AppendClose of the same code, and nothing is read after it. An error of Next is an
// *Error whose Code and Reason go into the closing frame.
//
// An idle connection costs its Reader, 32 bytes. Bytes of an unfinished message wait in a
// buffer borrowed from pools that all connections share.
package websocket
