package ledger

import "time"

// Node is the ledger of a node since it started: an account for each kind of receivers and publishers. It does not change
// once it is complete.
type Node struct {
	Since      time.Time
	Receivers  []ReceiverPart
	Publishers []PublisherPart
	Earlier    *Earlier // nil if nothing survives the process
}

// ReceiverPart is the account of all receivers of one kind.
type ReceiverPart struct {
	Kind string
	Receiver
}

// PublisherPart is the account of all publishers of one kind.
type PublisherPart struct {
	Kind string
	Publisher
}

// AddReceiver adds a part with a copy of r.
func (n *Node) AddReceiver(kind string, r *Receiver) {
	part := ReceiverPart{Kind: kind}
	part.Add(r)
	n.Receivers = append(n.Receivers, part)
}

// AddPublisher adds a part with a copy of p.
func (n *Node) AddPublisher(kind string, p *Publisher) {
	part := PublisherPart{Kind: kind}
	part.Add(p)
	n.Publishers = append(n.Publishers, part)
}

// Received returns the sum of all receivers.
func (n *Node) Received() (sum Receiver) {
	for i := range n.Receivers {
		sum.Add(&n.Receivers[i].Receiver)
	}
	return sum
}

// Published returns the sum of all publishers.
func (n *Node) Published() (sum Publisher) {
	for i := range n.Publishers {
		sum.Add(&n.Publishers[i].Publisher)
	}
	return sum
}

// Unbalanced returns the kinds whose accounts do not balance, and "earlier" for those of earlier lives.
func (n *Node) Unbalanced() (kinds []string) {
	for i := range n.Receivers {
		if x := &n.Receivers[i]; x.Difference() != 0 {
			kinds = append(kinds, x.Kind)
		}
	}
	for i := range n.Publishers {
		if x := &n.Publishers[i]; x.Difference() != 0 {
			kinds = append(kinds, x.Kind)
		}
	}
	if n.Earlier != nil && n.Earlier.Difference() != 0 {
		kinds = append(kinds, "earlier")
	}
	return kinds
}

// Balances reports whether all accounts do: then the sums do.
func (n *Node) Balances() bool { return len(n.Unbalanced()) == 0 }

// Lost returns how many messages were lost, in this life and in those before.
func (n *Node) Lost() (sum uint64) {
	for i := range n.Receivers {
		sum += n.Receivers[i].Lost.Sum()
	}
	if n.Earlier != nil {
		sum += n.Earlier.Receivers.Lost.Sum()
	}
	return sum
}
