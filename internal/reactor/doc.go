// Package reactor serves very many TCP connections with few threads: epoll loops that own
// their connections, a timing wheel, borrowed buffers, and bounded workers for work that blocks.
//
// The flow: Start makes the loops. A loop accepts on its own SO_REUSEPORT listener (or
// dials), calls NewHandler for the connection's Handler, and from then on calls that with the
// bytes that arrive. What the handler writes is kept until the end of the loop's turn and
// then sent with one system call per connection. Code outside of the loop reaches it by Post.
//
// A Conn belongs to its loop: its methods may be called only on that loop,
// where Handler methods and posted tasks run. Only Loop.Post, Group and Workers
// are safe from any goroutine.
//
// Linux only, amd64 and arm64.
package reactor
