package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"net"

	"github.com/longline/longline/internal/websocket"
)

// tlsGarbage sends what is no TLS.
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

// tlsStall begins a TLS handshake and does not go on: in the middle of the ClientHello, or
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

// clientHello is what a TLS client says first.
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

// slowHandshake sends its request a byte a second.
func slowHandshake(c *crew, member int) error {
	conn, err := c.secure(member)
	if err != nil {
		return err
	}
	defer conn.Close()
	return trickle(conn, websocket.AppendRequest(nil, c.request(member, false)))
}

// begun is a request whose header has no end.
const begun = "GET /connect HTTP/1.1\r\nHost: a\r\n"

// headerFlood sends header lines for ever.
func headerFlood(c *crew, member int) error {
	return c.shout(member, begun, bytes.Repeat([]byte("X-Header: value\r\n"), 64))
}

// oversizeHeader sends one line for ever.
func oversizeHeader(c *crew, member int) error {
	return c.shout(member, begun+"X-Header: ", bytes.Repeat([]byte("v"), 4096))
}

// oversizeURL asks for something that is very long.
func oversizeURL(c *crew, member int) error {
	return c.shout(member, "GET /connect?device=", bytes.Repeat([]byte("u"), 4096))
}

// shout connects, says first, and then more until the gateway does not listen any longer.
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

// halfClosed ends its own direction, and waits: before the request, in it, or as a device.
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
