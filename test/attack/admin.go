package main

import "encoding/binary"

// adminIdle connects to the admin port and sends nothing.
func adminIdle(c *crew, member int) error {
	conn, err := c.dial(c.Admin, member)
	if err != nil {
		return err
	}
	defer conn.Close()
	return await(conn)
}

// adminZeroWindow sends requests without a token on many streams at once and reads no answer.
func adminZeroWindow(c *crew, member int) error {
	conn, err := c.dial(c.Admin, member)
	if err != nil {
		return err
	}
	defer conn.Close()
	return provoke(conn, windowless(200))
}

// windowless returns HTTP/2 with prior knowledge, RFC 9113: GET / on a number of streams, with
// SETTINGS_INITIAL_WINDOW_SIZE 0.
func windowless(streams uint32) []byte {
	b := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	b = append(b, 0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0)
	for i := range streams {
		b = append(b, 0, 0, 14, 1, 5) // HEADERS that end the request
		b = binary.BigEndian.AppendUint32(b, 2*i+1)
		b = append(b, 0x82, 0x84, 0x86, 0x41, 9) // :method GET, :path /, :scheme http, :authority; RFC 7541
		b = append(b, "localhost"...)
	}
	return b
}

// adminPages sends the request of a browser for an image of a page, whose URL is the API's.
func adminPages(c *crew, member int) error {
	conn, err := c.dial(c.Admin, member)
	if err != nil {
		return err
	}
	defer conn.Close()
	return provoke(conn, []byte("GET /v1/subscribe?filter=$share/workers/%23&qos=1 HTTP/1.1\r\nHost: "+c.Admin+
		"\r\nUser-Agent: Mozilla/5.0\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\nConnection: close\r\n\r\n"))
}
