//go:build servers

package balancers

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/test/servers"
)

// ports are those of a balancer.
type ports struct{ websocket, mqtt int }

// A cluster is three nodes behind a balancer.
type cluster struct {
	t     *testing.T
	nodes []*node
	ports ports
	n     int // devices that have connected
}

// start starts three nodes, and a balancer with the configuration that deploy has for it.
func start(t *testing.T, file string, program func(config func(port int) string) servers.Program) *cluster {
	c := &cluster{t: t}
	for range 3 {
		c.nodes = append(c.nodes, startNode(t, nil))
	}
	text, err := os.ReadFile(filepath.Join("../../deploy", file))
	if err != nil {
		t.Fatal(err)
	}
	p := program(func(port int) string { return c.local(string(text), port) })
	p.Ports = []int{0, 1}
	s := servers.Start(t, p)
	c.ports = ports{s.Port, s.Port + 1}
	c.await("the balancer has found a node", func() bool {
		d, err := connect(t, "mqtt-first", c.ports)
		if err == nil {
			d.close()
		}
		return err == nil
	})
	return c
}

// local replaces the addresses of a configuration by those of the test, and limits that need rights by smaller ones.
func (c *cluster) local(text string, port int) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		for j, n := range c.nodes {
			if name := fmt.Sprintf("10.0.0.%d", j+1); strings.Contains(line, name) {
				lines[i] = strings.NewReplacer(name, "127.0.0.1", "8080", port16(n.gateway.Addr().Port()), "1883", port16(n.gateway.MQTTAddr().Port()), "8081", port16(n.admin.Port())).Replace(line)
			}
		}
	}
	here := func(begin, end string) (all []string) {
		for i, p := range []string{"8080", "1883"} {
			host := strings.Replace(begin, "0.0.0.0", "127.0.0.1", 1)
			if !strings.Contains(begin, "0.0.0.0") {
				host = strings.TrimSuffix(host, ":") + "127.0.0.1:"
			}
			all = append(all, begin+p+end, host+strconv.Itoa(port+i)+end)
		}
		return all
	}
	replacements := append(here("bind :", "\n"), here("listen ", ";")...)
	replacements = append(replacements, here("address: 0.0.0.0, port_value: ", "}")...)
	return strings.NewReplacer(append(replacements, "00000", "000")...).Replace(strings.Join(lines, "\n"))
}

func port16(p uint16) string { return strconv.Itoa(int(p)) }

// await waits until what becomes true is true.
func (c *cluster) await(what string, is func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s did not come true", what)
		}
	}
}

// connect connects one device by WebSocket and one by MQTT, which must succeed.
func (c *cluster) connect() (both []*device) {
	c.t.Helper()
	for _, protocol := range []string{"ws", "mqtt"} {
		d, err := connect(c.t, fmt.Sprintf("%s-%d", protocol, c.n), c.ports)
		if err != nil {
			c.t.Fatalf("a device cannot connect: %v", err)
		}
		both = append(both, d)
	}
	c.n++
	time.Sleep(20 * time.Millisecond) // the balancer's limit is small
	return both
}

// Behind each balancer: nodes get equal parts of the devices, and know their addresses; while a node is drained, after it has died and when it has come back, every device gets in
// at its first attempt.
func TestBalancers(t *testing.T) {
	for file, program := range map[string]func(func(int) string) servers.Program{
		"haproxy.cfg": servers.HAProxyProgram,
		"nginx.conf":  servers.NginxProgram,
		"envoy.yaml":  servers.EnvoyProgram,
	} {
		t.Run(file, func(t *testing.T) {
			c := start(t, file, program)
			c.spread()
			c.drain(c.nodes[0])
			c.lose(1)
			c.back(1)
		})
	}
}

// spread connects devices, and checks where they have come to.
func (c *cluster) spread() {
	const pairs = 30
	for range pairs {
		for _, d := range c.connect() {
			known := false
			for _, n := range c.nodes {
				known = known || n.peer(c.t, d.name) == d.local
			}
			if !known {
				c.t.Fatalf("no node knows that %s is at %v", d.name, d.local)
			}
		}
	}
	for i, n := range c.nodes {
		if got := n.online(); got < 2*pairs/6 || got > 2*pairs/2 {
			c.t.Errorf("node %d has %d of %d devices", i, got, 2*pairs)
		}
	}
}

// drain drains a node while devices connect.
func (c *cluster) drain(n *node) {
	drained := make(chan error, 1)
	go func() { drained <- n.gateway.Drain(c.t.Context()) }()
	for n.listens(c.t) {
		c.connect()
	}
	for range 20 {
		c.connect()
	}
	for n.gateway.Move(100, func() string { return "" }) > 0 || n.online() > 0 {
		c.connect()
	}
	if err := <-drained; err != nil {
		c.t.Error(err)
	}
}

// lose ends a node at once while devices connect.
func (c *cluster) lose(i int) {
	c.nodes[i].die()
	for range 20 {
		c.connect()
	}
}

// back starts it again: it gets devices.
func (c *cluster) back(i int) {
	c.nodes[i] = startNode(c.t, c.nodes[i])
	c.await("the node that has come back has devices of both protocols", func() bool {
		c.connect()
		return c.nodes[i].online() >= 4
	})
}
