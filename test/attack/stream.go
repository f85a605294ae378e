package main

import (
	"io"
	"net"
	"time"
)

// What all attacks on a stream are made of. Each ends when the gateway ends the connection, or
// at the connection's deadline.

// trickle writes a byte a second.
func trickle(conn io.Writer, b []byte) error {
	for i := range b {
		if _, err := conn.Write(b[i : i+1]); err != nil {
			return err
		}
		time.Sleep(time.Second) // the attack itself
	}
	return nil
}

// flood writes the same again and again.
func flood(conn io.Writer, b []byte) error {
	for {
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
}

// floodAndRead is flood by one who takes the answers.
func floodAndRead(conn net.Conn, b []byte) error {
	go func() { _ = await(conn) }()
	return flood(conn, b)
}

// await reads until the gateway ends the connection.
func await(conn io.Reader) error {
	_, err := io.Copy(io.Discard, conn)
	return err
}

// provoke writes, and reads until the gateway ends the connection.
func provoke(conn net.Conn, b []byte) error {
	if _, err := conn.Write(b); err != nil {
		return err
	}
	return await(conn)
}
