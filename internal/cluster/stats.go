package cluster

import "sync/atomic"

// counts are what the metrics show.
type counts struct {
	commands  atomic.Uint64
	batches   atomic.Uint64
	sent      atomic.Uint64
	failed    atomic.Uint64
	refused   atomic.Uint64
	received  atomic.Uint64
	repeated  atomic.Uint64
	letGo     atomic.Uint64
	bad       atomic.Uint64
	hops      atomic.Uint64
	unowned   atomic.Uint64
	announced atomic.Uint64
	claimed   atomic.Uint64
	moved     atomic.Uint64
	adopted   atomic.Uint64
	forwarded atomic.Uint64
}

// Stats calls show for each metric of the cluster.
func (n *Node) Stats(show func(name, help string, counter bool, value float64)) {
	gauge := func(name, help string, v float64) { show(name, help, false, v) }
	count := func(name, help string, v *atomic.Uint64) { show(name, help, true, float64(v.Load())) }
	held := 0.0
	if n.Held() {
		held = 1
	}
	c := &n.counts
	gauge("lease_held", "1 while this node's lease is valid; otherwise messages with QoS 1 and 2 wait.", held)
	gauge("nodes", "Nodes that the cluster knows, dead ones that are not adopted yet among them.", float64(len(n.Members())))
	gauge("devices", "Devices that this node owns, with or without a connection.", float64(n.claims.count()))
	gauge("waiting_bytes", "Bytes of messages that wait to be put into other nodes' inboxes.", float64(n.waiting.Load()))
	count("commands_total", "Commands that were sent to Redis, without those of the store.", &c.commands)
	count("batches_total", "Batches that were put into other nodes' inboxes.", &c.batches)
	count("items_sent_total", "Messages, notices and requests in these batches.", &c.sent)
	count("items_failed_total", "Messages, notices and requests that were given up because Redis was away.", &c.failed)
	count("items_refused_total", "Messages, notices and requests that were refused because too many waited.", &c.refused)
	count("items_received_total", "Messages, notices and requests that came from other nodes.", &c.received)
	count("batches_repeated_total", "Batches of other nodes that came again, after a failover of Redis.", &c.repeated)
	count("batches_let_go_total", "Batches of other nodes that held up the inbox for too long: their messages wait for their receivers in memory alone.", &c.letGo)
	count("batches_bad_total", "Batches, messages, announcements and reports of other nodes that this one could not read, and has skipped.", &c.bad)
	count("hops_exceeded_total", "Messages that nodes sent on to one another until they were dropped.", &c.hops)
	count("devices_unowned_total", "Messages in the own space of a device that no node has.", &c.unowned)
	count("filters_announced_total", "Changes of what this node wants that were announced.", &c.announced)
	count("claims_total", "Claims of devices.", &c.claimed)
	count("moves_total", "Claims of devices that another living node had.", &c.moved)
	count("adopted_total", "Devices of dead nodes that this one has adopted.", &c.adopted)
	count("forwarded_total", "Messages that were sent on to the node that a device has moved to.", &c.forwarded)
}
