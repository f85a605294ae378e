// Package bench measures servers. It has a client on the event loops, reads the CPU time and memory of a
// server's process, and writes results as text, tables and charts.
//
// Connect opens connections to a Target and keeps them. Echo, Paced and Broadcast
// then load them, one after another; each checks every byte that comes back.
// Handshakes needs no Client. A Result says what the load was, what it cost the server, and
// how long answers took. A Comparison gathers the results of several servers, and writes
// tables, a chart and a file. Admin reads a gateway's metrics.
//
// The client runs on as many loops as its connections need, and spins while it paces a load:
// give it a processor of its own.
package bench
