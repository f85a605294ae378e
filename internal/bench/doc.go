// Package bench measures servers: it is the client of an echo server on the event loops, the
// accounts of a server's process from /proc, and the arithmetic and drawing of results.
//
// The flow: Connect opens connections to a Target and keeps them. Echo, Paced and Broadcast
// then load them, one after the other; each has every byte that comes back checked.
// Handshakes needs no Client. A Result says what the load was, what it cost the server, and
// how long answers took. A Comparison gathers what several servers came to, and tells it in
// tables, a chart and a file. Admin reads a gateway's metrics.
//
// The client runs on as many loops as its connections need, and spins while it paces a load:
// give it a processor of its own.
package bench
