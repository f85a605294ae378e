package main

import "github.com/longline/longline/internal/bench"

// measures are the lines of the tables, in order.
var measures = []measure{
	{bench.Measure{Key: "idle", Title: "user memory of an idle client with one subscription", Unit: "B"}, least{1000, 6155, 59164}},
	{bench.Measure{Key: "connect", Title: "connect", Unit: "us"}, least{20, 22, 96}},
	{bench.Measure{Key: "subscribe", Title: "connect and subscribe", Unit: "us"}, least{26, 32, 122}},
	{bench.Measure{Key: "pings", Title: "idle clients that ping", Unit: "% of a processor"}, least{1.2, 1.7, 5.0}},
	{bench.Measure{Key: "paced", Title: "uplink, QoS 0, at a fixed rate to one subscriber", Unit: "us/message"}, least{15, 16.3, 30.7}},
	{bench.Measure{Key: "qos0", Title: "uplink, QoS 0, one in flight of each device", Unit: "messages/s"}, most{150_000, 96_974, 46_596}},
	{bench.Measure{Key: "qos1", Title: "uplink, QoS 1, one in flight of each device", Unit: "acknowledged/s"}, most{95_000, 92_990, 57_885}},
	{bench.Measure{Key: "lag", Title: "of those: lost when the one subscriber lags", Unit: "%"}, least{0, 72, 77}},
	{bench.Measure{Key: "fanout", Title: "fan-out to all clients", Unit: "us/delivery"}, least{5.8, 6.6, 17.4}},
	{bench.Measure{Key: "command0", Title: "command and reply, QoS 0", Unit: "round trips/s"}, most{95_000, 59_628, 28_116}},
	{bench.Measure{Key: "command1", Title: "command and reply, QoS 1", Unit: "round trips/s"}, most{60_000, 34_693, 18_670}},
	{bench.Measure{Key: "qos0_busy", Title: "server's CPU: uplink, QoS 0, one in flight", Unit: "% of a processor"}, nil},
	{bench.Measure{Key: "qos1_busy", Title: "server's CPU: uplink, QoS 1, one in flight", Unit: "% of a processor"}, nil},
	{bench.Measure{Key: "command0_busy", Title: "server's CPU: command and reply, QoS 0", Unit: "% of a processor"}, nil},
	{bench.Measure{Key: "command1_busy", Title: "server's CPU: command and reply, QoS 1", Unit: "% of a processor"}, nil},
	{bench.Measure{Key: "dropped", Title: "messages of the QoS 0 uplinks and the commands that never came", Unit: "messages"}, nil},
}

// measure is one line of the tables.
type measure struct {
	bench.Measure
	goal goal // nil means none
}

// goal is a bar for a measure of longline.
type goal interface {
	// holds reports whether the value is as good as the bar times scale.
	holds(value, scale float64) bool
	// text returns the bar times scale.
	text(scale float64) string
	// base returns the figure of a server on the machine on which the bar was set; 0 means unknown.
	base(server string) float64
}

// figures are a bar, and the figures of Mosquitto 2.1.2 and mochi-mqtt 2.7.9 on the machine on which
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
