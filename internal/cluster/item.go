package cluster

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/protofield"
)

// A batch is what one node puts into the inbox of another at a time: the sender's owner, the number of the batch, which rises from 1 on, by how much Redis' clock
// is ahead of the sender's, and then items. All are fields in protobuf's wire format; a reader skips fields that it does not know, so that nodes of two versions can be in one cluster while it is upgraded.

// Fields of a batch.
const (
	batchFrom   protowire.Number = 1
	batchNumber protowire.Number = 2
	batchItem   protowire.Number = 3
	batchAhead  protowire.Number = 4
)

// kind says what an item is.
type kind uint64

const (
	forAll    kind = 1 // a message for those on the node that want it; or, with device, in the own space of a device that the node has; or, with share, for one member
	forDevice kind = 2 // a message that is sent on to a device, which another node has lost
	taken     kind = 3 // the sender has claimed a device that the receiver had
	elsewhere kind = 4 // the receiver has sent an item for a device to the sender, and another node has the device
	request   kind = 5
	response  kind = 6
	ofDead    kind = 7 // a message that was in the inbox of a dead owner, for the sessions that have come from it
	markOf    kind = 8 // a node has sent it to itself: the position up to which it had read the log then
)

// item is one thing that a node sends to another.
type item struct {
	kind      kind
	at        uint64 // Message.At
	device    string
	share     string
	qos       message.QoS // forDevice: with which the device gets it
	own       bool        // forDevice: it is in the device's own space, and for the subscriptions that match
	hops      uint64
	epoch     uint64 // taken
	since     uint64 // taken
	owner     string // elsewhere: who has the device; ofDead: the dead owner
	id        uint64 // of a request
	procedure string // of a request
	timeout   uint64 // of a request, in milliseconds
	failed    string // of a response
	body      []byte // a message's record, a request, a response

	shift int64 // of an item that was read: by how many milliseconds this node's clock is ahead of the sender's
}

// Fields of an item.
const (
	itemKind      protowire.Number = 1
	itemAt        protowire.Number = 2
	itemDevice    protowire.Number = 3
	itemShare     protowire.Number = 4
	itemQoS       protowire.Number = 5
	itemHops      protowire.Number = 6
	itemEpoch     protowire.Number = 7
	itemSince     protowire.Number = 8
	itemOwner     protowire.Number = 9
	itemID        protowire.Number = 10
	itemProcedure protowire.Number = 11
	itemTimeout   protowire.Number = 12
	itemFailed    protowire.Number = 13
	itemBody      protowire.Number = 14
	itemOwn       protowire.Number = 15
)

// append appends the item's fields to dst.
func (i *item) append(dst []byte) []byte {
	dst = protofield.AppendNumber(dst, itemKind, uint64(i.kind))
	dst = protofield.AppendNumber(dst, itemAt, i.at)
	dst = protofield.AppendText(dst, itemDevice, i.device)
	dst = protofield.AppendText(dst, itemShare, i.share)
	dst = protofield.AppendNumber(dst, itemQoS, uint64(i.qos))
	dst = protofield.AppendNumber(dst, itemOwn, protowire.EncodeBool(i.own))
	dst = protofield.AppendNumber(dst, itemHops, i.hops)
	dst = protofield.AppendNumber(dst, itemEpoch, i.epoch)
	dst = protofield.AppendNumber(dst, itemSince, i.since)
	dst = protofield.AppendText(dst, itemOwner, i.owner)
	dst = protofield.AppendNumber(dst, itemID, i.id)
	dst = protofield.AppendText(dst, itemProcedure, i.procedure)
	dst = protofield.AppendNumber(dst, itemTimeout, i.timeout)
	dst = protofield.AppendText(dst, itemFailed, i.failed)
	return protofield.AppendText(dst, itemBody, i.body)
}

var errItem = errors.New("cluster: bad batch")

// parse reads the fields of an item, whose texts are views of p.
func (i *item) parse(p []byte) error {
	*i = item{}
	return protofield.Each(p, errItem, func(v *protofield.Value) error {
		switch v.Num {
		case itemKind:
			i.kind = kind(v.Uint())
		case itemAt:
			i.at = v.Uint()
		case itemDevice:
			i.device = v.Text()
		case itemShare:
			i.share = v.Text()
		case itemQoS:
			i.qos = message.QoS(v.Within(uint64(message.ExactlyOnce)))
		case itemOwn:
			i.own = protowire.DecodeBool(v.Uint())
		case itemHops:
			i.hops = v.Uint()
		case itemEpoch:
			i.epoch = v.Uint()
		case itemSince:
			i.since = v.Uint()
		case itemOwner:
			i.owner = v.Text()
		case itemID:
			i.id = v.Uint()
		case itemProcedure:
			i.procedure = v.Text()
		case itemTimeout:
			i.timeout = v.Uint()
		case itemFailed:
			i.failed = v.Text()
		case itemBody:
			i.body = v.Body()
		}
		return nil
	})
}

// message returns the message of an item, which shares no memory with the batch: a message that is kept would keep the batch.
func (i *item) message() (*message.Message, error) {
	m, err := message.ParseRecord(slices.Clone(i.body))
	if err != nil {
		return nil, err
	}
	m.At, m.Hops = i.at, uint8(min(i.hops, maxHops+1))
	if m.Expiry != 0 {
		m.Expiry = max(1, m.Expiry+i.shift) // far in the past it is over, as it is at 1
	}
	return m, nil
}

// batchHead is the beginning of a batch.
type batchHead struct {
	from   string
	number uint64
	ahead  int64 // in milliseconds, at most mostAhead in either direction
}

// mostAhead bounds what a node takes for the clock of another one.
const mostAhead = 1 << 42

func (h batchHead) append(dst []byte) []byte {
	dst = protofield.AppendNumber(protofield.AppendText(dst, batchFrom, h.from), batchNumber, h.number)
	return protofield.AppendNumber(dst, batchAhead, protowire.EncodeZigZag(h.ahead))
}

// eachItem calls take for each item of a batch, until it returns an error, which eachItem returns. What cannot be read is skipped: bad is told why. ahead is by how
// many milliseconds Redis' clock is ahead of this node's.
func eachItem(p []byte, ahead int64, take func(*batchHead, *item) error, bad func(error)) error {
	var stopped error
	err := parseBatch(p, func(h *batchHead, p []byte) error {
		var i item
		if err := i.parse(p); err != nil {
			bad(err)
			return nil
		}
		i.shift = h.ahead - ahead
		stopped = take(h, &i)
		return stopped
	})
	if err != nil && stopped == nil {
		bad(err)
	}
	return stopped
}

// parseBatch calls each for the bytes of the items of a batch.
func parseBatch(p []byte, each func(h *batchHead, item []byte) error) error {
	var h batchHead
	err := protofield.Each(p, errItem, func(v *protofield.Value) error {
		switch v.Num {
		case batchFrom:
			h.from = v.Text()
		case batchNumber:
			h.number = v.Uint()
		case batchAhead:
			h.ahead = protowire.DecodeZigZag(v.Within(2 * mostAhead))
		case batchItem:
			body := v.Body()
			if v.Bad != nil {
				return nil
			}
			if !h.complete() {
				return errNobody
			}
			return each(&h, body)
		}
		return nil
	})
	if err == nil && !h.complete() {
		return errNobody
	}
	return err
}

var errNobody = fmt.Errorf("%w: nobody has sent it", errItem)

func (h *batchHead) complete() bool { return validOwner(h.from) && h.number != 0 }
