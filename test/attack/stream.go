package main

import (
	"io"
	"net"
	"time"
)

// The parts of attacks on a stream. Each ends when the gateway closes the connection, or
// at the connection's deadline.

// trickle writes one byte per second.
func trickle(conn io.Writer, b []byte) error {
	for i := range b {
		if _, err := conn.Write(b[i : i+1]); err != nil {
			return err
		}
		time.Sleep(time.Second) // the attack itself
	}
	return nil
}

// flood writes the same bytes again and again.
func flood(conn io.Writer, b []byte) error {
	for {
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
}

// floodAndRead is flood, and reads the answers.
func floodAndRead(conn net.Conn, b []byte) error {
	go func() { _ = await(conn) }()
	return flood(conn, b)
}

// await reads until the gateway closes the connection.
func await(conn io.Reader) error {
	_, err := io.Copy(io.Discard, conn)
	return err
}

// provoke writes, and then reads until the gateway closes the connection.
func provoke(conn net.Conn, b []byte) error {
	if _, err := conn.Write(b); err != nil {
		return err
	}
	return await(conn)
}
