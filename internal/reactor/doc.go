// Package reactor keeps very many TCP connections on few threads: epoll loops that own
// their connections, a timing wheel, borrowed buffers, and bounded workers for what blocks.
//
// The flow: Start makes the loops. A loop accepts on its own SO_REUSEPORT listener (or
// dials), asks NewHandler for the connection's Handler, and from then on calls it with the
// bytes that arrive. What the handler writes is kept until the end of the loop's turn and
// leaves with one system call a connection. Anything outside the loop reaches it by Post.
//
// Everything of a Conn belongs to its loop: its methods may be called on that loop only,
// which is where Handler methods and posted tasks run. Only Loop.Post, Group and Workers
// are safe from any goroutine.
//
// Linux only, amd64 and arm64.
package reactor
