package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"net"

	"github.com/longline/longline/internal/websocket"
)

// tlsGarbage sends bytes that are not TLS.
func tlsGarbage(c *crew, member int) error {
	conn, err := c.dial(c.Devices, member)
	if err != nil {
		return err
	}
	defer conn.Close()
	garbage := make([]byte, 4096)
	rand.Read(garbage)
	return provoke(conn, garbage)
}

// tlsStall begins a TLS handshake and stops in the middle of the ClientHello, or
// after it.
func tlsStall(c *crew, member int) error {
	conn, err := c.dial(c.Devices, member)
	if err != nil {
		return err
	}
	defer conn.Close()
	hello := clientHello()
	if member%2 == 0 {
		hello = hello[:len(hello)/2]
	}
	return provoke(conn, hello)
}

// clientHello returns a TLS client's first record.
func clientHello() []byte {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		_ = tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake() // nobody answers
	}()
	hello := make([]byte, 4096)
	n, _ := server.Read(hello)
	return hello[:n]
}

// slowHandshake sends its request at one byte per second.
func slowHandshake(c *crew, member int) error {
	conn, err := c.secure(member)
	if err != nil {
		return err
	}
	defer conn.Close()
	return trickle(conn, websocket.AppendRequest(nil, c.request(member, false)))
}

// begun is a request whose header is not complete.
const begun = "GET /connect HTTP/1.1\r\nHost: a\r\n"

// headerFlood sends header lines without end.
func headerFlood(c *crew, member int) error {
	return c.shout(member, begun, bytes.Repeat([]byte("X-Header: value\r\n"), 64))
}

// oversizeHeader sends one header line without end.
func oversizeHeader(c *crew, member int) error {
	return c.shout(member, begun+"X-Header: ", bytes.Repeat([]byte("v"), 4096))
}

// oversizeURL sends a very long URL.
func oversizeURL(c *crew, member int) error {
	return c.shout(member, "GET /connect?device=", bytes.Repeat([]byte("u"), 4096))
}

// shout connects, sends first, and then sends more again and again until the gateway closes.
func (c *crew) shout(member int, first string, more []byte) error {
	conn, err := c.secure(member)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(first)); err != nil {
		return err
	}
	return flood(conn, more)
}

// halfClosed shuts down its own direction and waits: before the request, within it, or as a device.
func halfClosed(c *crew, member int) error {
	var conn *tls.Conn
	var err error
	if member%3 == 2 {
		conn, err = c.upgraded(member, false)
	} else {
		conn, err = c.secure(member)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	if member%3 == 1 {
		if _, err := conn.Write([]byte(begun)); err != nil {
			return err
		}
	}
	if err := conn.NetConn().(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	return await(conn.NetConn())
}
