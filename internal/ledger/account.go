// Package ledger accounts for messages: whatever a receiver took has one fate, and whatever a publisher sent has one
// answer. Each receiver and publisher counts for itself, in a Receiver or a Publisher. A node's ledger is the sum.
package ledger

// Count is a number of messages that have one reason.
type Count struct {
	Why string `json:"why"`
	N   uint64 `json:"n"`
}

// Counts are numbers of messages by reason, in the order in which the reasons came up. There are few.
type Counts []Count

// Add counts n messages.
func (c *Counts) Add(why string, n int) {
	if n > 0 {
		c.add(why, uint64(n))
	}
}

func (c *Counts) add(why string, n uint64) {
	for i := range *c {
		if (*c)[i].Why == why {
			(*c)[i].N += n
			return
		}
	}
	*c = append(*c, Count{why, n})
}

func (c *Counts) addAll(more Counts) {
	for _, x := range more {
		c.add(x.Why, x.N)
	}
}

// Sum returns how many messages they are.
func (c Counts) Sum() (n uint64) {
	for _, x := range c {
		n += x.N
	}
	return n
}

// Receiver is the account of a receiver of messages, or of several. Its methods take no lock: its owner guards it.
//
// What came: Taken + Found + MovedIn. What became of it: Delivered + Acknowledged + Waiting + Expired + MovedOut, and the
// sums of Dropped and Lost.
type Receiver struct {
	Taken   uint64 `json:"taken,omitempty"`    // given to the receiver, also what it dropped at once
	Found   uint64 `json:"found,omitempty"`    // waited for it when the node started
	MovedIn uint64 `json:"moved_in,omitempty"` // given to it by another member of a shared subscription

	Delivered    uint64 `json:"delivered,omitempty"`    // handed to its connection, where no acknowledgement follows
	Acknowledged uint64 `json:"acknowledged,omitempty"` // the receiver has them, and said so
	Waiting      uint64 `json:"waiting,omitempty"`      // none of the others yet
	Expired      uint64 `json:"expired,omitempty"`
	MovedOut     uint64 `json:"moved_out,omitempty"` // given back to the shared subscription
	Dropped      Counts `json:"dropped,omitempty"`   // by the reasons in router/drops.go
	Lost         Counts `json:"lost,omitempty"`      // by where
}

// Add adds the account o to r.
func (r *Receiver) Add(o *Receiver) {
	r.Taken += o.Taken
	r.Found += o.Found
	r.MovedIn += o.MovedIn
	r.Delivered += o.Delivered
	r.Acknowledged += o.Acknowledged
	r.Waiting += o.Waiting
	r.Expired += o.Expired
	r.MovedOut += o.MovedOut
	r.Dropped.addAll(o.Dropped)
	r.Lost.addAll(o.Lost)
}

// Came returns how many messages came.
func (r *Receiver) Came() uint64 { return r.Taken + r.Found + r.MovedIn }

// Difference returns how many messages came that have no fate: 0 if r balances. It is negative if there are more fates
// than messages.
func (r *Receiver) Difference() int64 {
	fates := r.Delivered + r.Acknowledged + r.Waiting + r.Expired + r.MovedOut + r.Dropped.Sum() + r.Lost.Sum()
	return int64(r.Came() - fates)
}

// Publisher is the account of a publisher, or of several. Its methods take no lock: its owner guards it.
//
// Published is Taken + Repeated + Waiting and the sum of Refused.
type Publisher struct {
	Published uint64 `json:"published,omitempty"` // the node received it from the publisher
	Taken     uint64 `json:"taken,omitempty"`     // every receiver has it, also if there is none
	Repeated  uint64 `json:"repeated,omitempty"`  // was published before, and not routed again
	Waiting   uint64 `json:"waiting,omitempty"`   // some receiver has not answered yet
	Refused   Counts `json:"refused,omitempty"`   // by the reasons in router/drops.go; a receiver may have the message nevertheless

	// Acknowledged is how many answers told the publisher that a message of QoS 1 or 2 was taken. It is no part of the
	// sum: a repetition is answered again, and a publisher that has left is not answered.
	Acknowledged uint64 `json:"acknowledged,omitempty"`
}

// Add adds the account o to p.
func (p *Publisher) Add(o *Publisher) {
	p.Published += o.Published
	p.Taken += o.Taken
	p.Repeated += o.Repeated
	p.Waiting += o.Waiting
	p.Acknowledged += o.Acknowledged
	p.Refused.addAll(o.Refused)
}

// Difference returns how many messages were published that have no answer: 0 if p balances.
func (p *Publisher) Difference() int64 {
	return int64(p.Published - (p.Taken + p.Repeated + p.Waiting + p.Refused.Sum()))
}
