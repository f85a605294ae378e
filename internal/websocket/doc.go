// Package websocket implements RFC 6455 and RFC 7692 as a codec: bytes in, events and bytes out.
// It does no I/O and starts no goroutine; it has both sides of the protocol.
//
// The flow of a connection, server side:
//
//	ParseRequest   until the request's header is complete
//	AppendUpgrade  or AppendHTTPError, the answer
//	Reader.Next    over every read, until it reports no event
//	AppendFrame    or AppendCompressed, AppendClose: frames to send
//	Reader.Release when the connection is gone
//
// and client side AppendRequest, ParseResponse, Reader.Next, AppendMaskedFrame.
//
// The close handshake (RFC 6455 §7.1) is the caller's task: it answers a Close event with
// AppendClose of the same code, and reads nothing after it. An error of Next is an
// *Error whose Code and Reason go into the close frame.
//
// An idle connection needs its Reader, 32 bytes. The bytes of an unfinished message are in a
// buffer that is borrowed from pools, which all connections share.
package websocket
