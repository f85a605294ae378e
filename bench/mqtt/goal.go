package main

import "github.com/longline/longline/internal/bench"

// measures are the lines of the tables, in order.
var measures = []measure{
	{"idle", "user memory of an idle client with one subscription", "B", least{1000, 6155, 59164}},
	{"connect", "connect", "us", least{20, 22, 96}},
	{"subscribe", "connect and subscribe", "us", least{26, 32, 122}},
	{"pings", "idle clients that ping", "% of a processor", least{1.2, 1.7, 5.0}},
	{"paced", "uplink, QoS 0, at a fixed rate to one subscriber", "us/message", least{15, 16.3, 30.7}},
	{"qos0", "uplink, QoS 0, one in flight of each device", "messages/s", most{150_000, 96_974, 46_596}},
	{"qos1", "uplink, QoS 1, one in flight of each device", "acknowledged/s", most{95_000, 92_990, 57_885}},
	{"lag", "of those: lost when the one subscriber lags", "%", least{0, 72, 77}},
	{"fanout", "fan-out to all clients", "us/delivery", least{5.8, 6.6, 17.4}},
	{"command0", "command and reply, QoS 0", "round trips/s", most{95_000, 59_628, 28_116}},
	{"command1", "command and reply, QoS 1", "round trips/s", most{60_000, 34_693, 18_670}},
	{"qos0_busy", "server's CPU: uplink, QoS 0, one in flight", "% of a processor", nil},
	{"qos1_busy", "server's CPU: uplink, QoS 1, one in flight", "% of a processor", nil},
	{"command0_busy", "server's CPU: command and reply, QoS 0", "% of a processor", nil},
	{"command1_busy", "server's CPU: command and reply, QoS 1", "% of a processor", nil},
	{"dropped", "messages of the QoS 0 uplinks and the commands that never came", "messages", nil},
}

// measure is one line of the tables.
type measure struct {
	key, title, unit string
	goal             goal // nil is none
}

// goal is what a measure of longline should come to.
type goal interface {
	// holds tells whether the value is as good as the bar, times scale.
	holds(value, scale float64) bool
	// text is the bar, times scale.
	text(scale float64) string
	// base is what a server had on the machine on which the bar was set; 0 is not known.
	base(server string) float64
}

// figures are a bar, and what Mosquitto 2.1.2 and mochi-mqtt 2.7.9 had on the machine on which
// it was set.
type figures struct{ bar, mosquitto, mochi float64 }

func (f figures) base(server string) float64 {
	switch server {
	case "mosquitto":
		return f.mosquitto
	case "mochi":
		return f.mochi
	}
	return 0
}

type (
	least figures // less is better
	most  figures // more is better
)

func (g least) base(server string) float64      { return figures(g).base(server) }
func (g least) holds(value, scale float64) bool { return value <= g.bar*scale }
func (g least) text(scale float64) string       { return "<= " + bench.Short(g.bar*scale) }

func (g most) base(server string) float64      { return figures(g).base(server) }
func (g most) holds(value, scale float64) bool { return value >= g.bar*scale }
func (g most) text(scale float64) string       { return ">= " + bench.Short(g.bar*scale) }
