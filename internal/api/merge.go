package api

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/command"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// Lists of all nodes are in one order, and a page token names the entry after which the next page begins. So each node is asked for a page behind the same
// token, and the merged page has what comes before the end of every page that another one follows.

// The bounds of what one node is asked for, in entries: with more than mostPerNode, an answer could be too large for maxExchanged.
const (
	leastPerNode = 16
	mostPerNode  = 250
)

// share returns the page size that each of so many nodes is asked for: more than its part, because devices are not spread evenly.
func share(size uint32, nodes int) uint32 {
	return min(size, max(leastPerNode, min(mostPerNode, 2*size/uint32(max(nodes, 1)))))
}

// page is what a node answered to a request for a list.
type page[E any] struct {
	list []E
	next string // the token; empty if nothing follows
}

// order says how a list of elements is ordered, by keys.
type order[E, K any] struct {
	key     func(E) K
	token   func(K) string
	parse   func(token string) K
	compare func(K, K) int
	better  func(a, b E) bool // of two with the same key, which two nodes have while a device moves
}

// merge returns the merged page, and its token.
func (o *order[E, K]) merge(pages []page[E], size uint32) (list []E, next string) {
	var end *K
	for _, p := range pages {
		list = append(list, p.list...)
		if p.next != "" {
			if last := o.parse(p.next); end == nil || o.compare(last, *end) < 0 {
				end, next = &last, p.next
			}
		}
	}
	slices.SortStableFunc(list, func(a, b E) int { return o.compare(o.key(a), o.key(b)) })
	if end != nil {
		list = slices.DeleteFunc(list, func(e E) bool { return o.compare(o.key(e), *end) > 0 })
	}
	list = o.unique(list)
	if len(list) > int(size) {
		list = list[:size]
		next = o.token(o.key(list[size-1]))
	}
	return list, next
}

// unique removes from a sorted list all but the better of those that have the same key.
func (o *order[E, K]) unique(list []E) []E {
	kept := list[:0]
	for _, e := range list {
		last := len(kept) - 1
		switch {
		case last < 0 || o.compare(o.key(kept[last]), o.key(e)) != 0:
			kept = append(kept, e)
		case o.better(e, kept[last]):
			kept[last] = e
		}
	}
	return kept
}

func same[T any](v T) T { return v }

var orderOfDevices = order[*longlinev1.Device, string]{
	key: (*longlinev1.Device).GetDevice, token: same[string], parse: same[string], compare: strings.Compare,
	better: func(a, b *longlinev1.Device) bool {
		if a.Online != b.Online {
			return a.Online
		}
		return a.Changed.AsTime().After(b.Changed.AsTime())
	},
}

func partOfDevices(r *longlinev1.ListDevicesRequest, nodes int) *longlinev1.ListDevicesRequest {
	r = proto.CloneOf(r)
	r.PageSize = share(r.PageSize, nodes)
	return r
}

func mergeDevices(r *longlinev1.ListDevicesRequest, parts []part[longlinev1.ListDevicesResponse]) *longlinev1.ListDevicesResponse {
	var pages []page[*longlinev1.Device]
	for _, p := range parts {
		pages = append(pages, page[*longlinev1.Device]{p.response.Devices, p.response.NextPageToken})
	}
	merged := new(longlinev1.ListDevicesResponse)
	merged.Devices, merged.NextPageToken = orderOfDevices.merge(pages, r.PageSize)
	return merged
}

var orderOfLedgers = order[*longlinev1.DeviceLedger, string]{
	key: (*longlinev1.DeviceLedger).GetDevice, token: same[string], parse: same[string], compare: strings.Compare,
	better: func(a, _ *longlinev1.DeviceLedger) bool { return a.Online },
}

func partOfLedgers(r *longlinev1.ListDeviceLedgersRequest, nodes int) *longlinev1.ListDeviceLedgersRequest {
	r = proto.CloneOf(r)
	r.PageSize = share(r.PageSize, nodes)
	return r
}

func mergeDeviceLedgers(r *longlinev1.ListDeviceLedgersRequest, parts []part[longlinev1.ListDeviceLedgersResponse]) *longlinev1.ListDeviceLedgersResponse {
	var pages []page[*longlinev1.DeviceLedger]
	for _, p := range parts {
		pages = append(pages, page[*longlinev1.DeviceLedger]{p.response.Ledgers, p.response.NextPageToken})
	}
	merged := new(longlinev1.ListDeviceLedgersResponse)
	merged.Ledgers, merged.NextPageToken = orderOfLedgers.merge(pages, r.PageSize)
	return merged
}

var orderOfCommands = order[*longlinev1.Command, command.Position]{
	key:   func(c *longlinev1.Command) command.Position { return command.Position{Device: c.Device, ID: c.Id} },
	token: positionToken,
	parse: func(token string) command.Position {
		at, _ := parsePosition(token) // a node's own; an unreadable one is the beginning, which repeats and loses nothing
		return at
	},
	compare: func(a, b command.Position) int {
		return cmp.Or(strings.Compare(a.Device, b.Device), cmp.Compare(a.ID, b.ID))
	},
	better: func(a, b *longlinev1.Command) bool {
		if (a.Ended != nil) != (b.Ended != nil) {
			return a.Ended != nil
		}
		return a.Attempts > b.Attempts
	},
}

func partOfCommands(r *longlinev1.ListCommandsRequest, nodes int) *longlinev1.ListCommandsRequest {
	r = proto.CloneOf(r)
	r.PageSize = share(r.PageSize, nodes)
	return r
}

func mergeCommands(r *longlinev1.ListCommandsRequest, parts []part[longlinev1.ListCommandsResponse]) *longlinev1.ListCommandsResponse {
	var pages []page[*longlinev1.Command]
	for _, p := range parts {
		pages = append(pages, page[*longlinev1.Command]{p.response.Commands, p.response.NextPageToken})
	}
	merged := new(longlinev1.ListCommandsResponse)
	merged.Commands, merged.NextPageToken = orderOfCommands.merge(pages, r.PageSize)
	return merged
}

func mergeBroadcast(_ *longlinev1.BroadcastRequest, parts []part[longlinev1.BroadcastResponse]) *longlinev1.BroadcastResponse {
	merged := new(longlinev1.BroadcastResponse)
	for _, p := range parts {
		merged.Devices += p.response.Devices
	}
	return merged
}

func mergeRevoke(_ *longlinev1.RevokeRequest, parts []part[longlinev1.RevokeResponse]) *longlinev1.RevokeResponse {
	merged := new(longlinev1.RevokeResponse)
	for _, p := range parts {
		merged.Closed += p.response.Closed
	}
	return merged
}

func mergeServices(_ *longlinev1.ListServicesRequest, parts []part[longlinev1.ListServicesResponse]) *longlinev1.ListServicesResponse {
	merged := new(longlinev1.ListServicesResponse)
	for _, p := range parts {
		merged.Services = append(merged.Services, p.response.Services...)
	}
	slices.SortStableFunc(merged.Services, func(a, b *longlinev1.Service) int { return strings.Compare(a.Name, b.Name) })
	return merged
}

func mergeSinks(_ *longlinev1.ListSinksRequest, parts []part[longlinev1.ListSinksResponse]) *longlinev1.ListSinksResponse {
	merged := new(longlinev1.ListSinksResponse)
	for _, p := range parts {
		merged.Sinks = append(merged.Sinks, p.response.Sinks...)
	}
	slices.SortStableFunc(merged.Sinks, func(a, b *longlinev1.Sink) int { return strings.Compare(a.Name, b.Name) })
	return merged
}

// mergeLedgers returns the sums of all nodes' accounts.
func mergeLedgers(_ *longlinev1.GetLedgerRequest, parts []part[longlinev1.GetLedgerResponse]) *longlinev1.GetLedgerResponse {
	merged := &longlinev1.GetLedgerResponse{Balanced: true, Received: new(longlinev1.ReceiverLedger), Published: new(longlinev1.PublisherLedger)}
	for _, p := range parts {
		r := p.response
		merged.Since = earlier(merged.Since, r.Since)
		merged.Balanced = merged.Balanced && r.Balanced
		addReceived(&merged.Received, r.Received)
		addPublished(&merged.Published, r.Published)
		for _, k := range r.Kinds {
			i := slices.IndexFunc(merged.Kinds, func(m *longlinev1.KindLedger) bool { return m.Kind == k.Kind })
			if i < 0 {
				i = len(merged.Kinds)
				merged.Kinds = append(merged.Kinds, &longlinev1.KindLedger{Kind: k.Kind})
			}
			addReceived(&merged.Kinds[i].Received, k.Received)
			addPublished(&merged.Kinds[i].Published, k.Published)
		}
		addEarlier(&merged.Earlier, r.Earlier)
	}
	return merged
}

// earlier returns the earlier of two times, either of which may be absent.
func earlier(a, b *timestamppb.Timestamp) *timestamppb.Timestamp {
	if a == nil || b != nil && b.AsTime().Before(a.AsTime()) {
		return b
	}
	return a
}

func addReceived(sum **longlinev1.ReceiverLedger, r *longlinev1.ReceiverLedger) {
	if r == nil {
		return
	}
	if *sum == nil {
		*sum = new(longlinev1.ReceiverLedger)
	}
	s := *sum
	s.Taken += r.Taken
	s.Found += r.Found
	s.MovedIn += r.MovedIn
	s.Delivered += r.Delivered
	s.Acknowledged += r.Acknowledged
	s.Waiting += r.Waiting
	s.Expired += r.Expired
	s.MovedOut += r.MovedOut
	s.Dropped = addCounts(s.Dropped, r.Dropped)
	s.Lost = addCounts(s.Lost, r.Lost)
	s.Difference += r.Difference
}

func addPublished(sum **longlinev1.PublisherLedger, p *longlinev1.PublisherLedger) {
	if p == nil {
		return
	}
	if *sum == nil {
		*sum = new(longlinev1.PublisherLedger)
	}
	s := *sum
	s.Published += p.Published
	s.Taken += p.Taken
	s.Repeated += p.Repeated
	s.Waiting += p.Waiting
	s.Refused = addCounts(s.Refused, p.Refused)
	s.Acknowledged += p.Acknowledged
	s.Difference += p.Difference
}

func addCounts(sum, counts []*longlinev1.LedgerCount) []*longlinev1.LedgerCount {
	for _, c := range counts {
		if i := slices.IndexFunc(sum, func(s *longlinev1.LedgerCount) bool { return s.Reason == c.Reason }); i >= 0 {
			sum[i].Messages += c.Messages
			continue
		}
		sum = append(sum, &longlinev1.LedgerCount{Reason: c.Reason, Messages: c.Messages})
	}
	return sum
}

// mostGaps bounds the gaps of an account of earlier lives.
const mostGaps = 16

func addEarlier(sum **longlinev1.EarlierLedger, e *longlinev1.EarlierLedger) {
	if e == nil {
		return
	}
	if *sum == nil {
		*sum = new(longlinev1.EarlierLedger)
	}
	s := *sum
	s.Since = earlier(s.Since, e.Since)
	s.Lives += e.Lives
	s.Killed += e.Killed
	addReceived(&s.Received, e.Received)
	addPublished(&s.Published, e.Published)
	s.Unknown += e.Unknown
	s.Carried += e.Carried
	s.Difference += e.Difference
	s.Gaps = append(s.Gaps, e.Gaps...)
	slices.SortFunc(s.Gaps, func(a, b *longlinev1.LedgerGap) int { return a.From.AsTime().Compare(b.From.AsTime()) })
	s.Gaps = s.Gaps[max(0, len(s.Gaps)-mostGaps):]
}
