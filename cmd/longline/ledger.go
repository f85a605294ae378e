package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/longline/longline/internal/ledger"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// ledgerMetrics are those of the last sum, so that a scrape does not look at every device. What else a ledger has is in the
// counters of messages that were published, delivered and dropped.
func (n *node) ledgerMetrics() []prometheus.Collector {
	gauge := func(name, help string, value func(*ledger.Node) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(n.ledger.Last()) })
	}
	return []prometheus.Collector{
		gauge("longline_ledger_unbalanced", "Accounts of the ledger that do not balance: more than 0 is a fault of the gateway.",
			func(l *ledger.Node) float64 { return float64(len(l.Unbalanced())) }),
		gauge("longline_ledger_waiting", "Messages that waited for their receivers, in queues, in flight or for room.",
			func(l *ledger.Node) float64 { r := l.Received(); return float64(r.Waiting) }),
		gauge("longline_ledger_lost", "Messages that were lost, in this life of the node and in those before.",
			func(l *ledger.Node) float64 { return float64(l.Lost()) }),
	}
}

// Audit is longline audit.
type Audit struct {
	client
	Device     string `xor:"what" placeholder:"ID" help:"Show the messages of this device, instead of the whole node."`
	Unbalanced bool   `xor:"what" help:"Show the devices whose accounts do not balance, instead of the whole node."`
	JSON       bool   `name:"json" help:"Print JSON: one object, or one line per device with --unbalanced."`
}

// Run prints the ledger, and fails if it does not balance.
func (a *Audit) Run(ctx context.Context, c *Console) error {
	gateway, err := a.gateway()
	if err != nil {
		return err
	}
	switch {
	case a.Device != "":
		return a.device(ctx, c, gateway)
	case a.Unbalanced:
		return a.unbalanced(ctx, c, gateway)
	}
	return a.node(ctx, c, gateway)
}

func (a *Audit) node(ctx context.Context, c *Console, gateway longlinev1connect.GatewayClient) error {
	r, err := gateway.GetLedger(ctx, connect.NewRequest(new(longlinev1.GetLedgerRequest)))
	if err != nil {
		return err
	}
	l := r.Msg
	if err := a.print(c, l, func(w io.Writer) { writeNode(w, l) }); err != nil {
		return err
	}
	return unlessBalanced(l.Balanced, "the ledger")
}

func (a *Audit) device(ctx context.Context, c *Console, gateway longlinev1connect.GatewayClient) error {
	r, err := gateway.GetDeviceLedger(ctx, connect.NewRequest(&longlinev1.GetDeviceLedgerRequest{Device: a.Device}))
	if err != nil {
		return err
	}
	l := r.Msg.Ledger
	if err := a.print(c, l, func(w io.Writer) { writeDevice(w, l) }); err != nil {
		return err
	}
	return unlessBalanced(l.GetBalanced(), "the ledger of "+a.Device)
}

// unbalanced prints the devices whose accounts do not balance.
func (a *Audit) unbalanced(ctx context.Context, c *Console, gateway longlinev1connect.GatewayClient) error {
	found := 0
	for token := ""; ; {
		r, err := gateway.ListDeviceLedgers(ctx, connect.NewRequest(&longlinev1.ListDeviceLedgersRequest{Unbalanced: true, PageToken: token}))
		if err != nil {
			return err
		}
		for _, l := range r.Msg.Ledgers {
			found++
			if err := a.print(c, l, func(w io.Writer) { writeDevice(w, l) }); err != nil {
				return err
			}
		}
		if token = r.Msg.NextPageToken; token == "" {
			break
		}
	}
	if found == 0 && !a.JSON {
		_, err := fmt.Fprintln(c.Out, "the ledgers of all devices balance")
		return err
	}
	return unlessBalanced(found == 0, fmt.Sprintf("the ledgers of %d devices", found))
}

// unlessBalanced is the error by which the command fails.
func unlessBalanced(is bool, what string) error {
	if is {
		return nil
	}
	return fmt.Errorf("messages are not accounted for: %s does not balance", what)
}

// print prints m as JSON, or as the table that write makes.
func (a *Audit) print(c *Console, m proto.Message, write func(io.Writer)) error {
	if a.JSON {
		b, err := protojson.MarshalOptions{Multiline: !a.Unbalanced, EmitUnpopulated: true}.Marshal(m)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.Out, "%s\n", b)
		return err
	}
	w := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	write(w)
	return w.Flush() // it returns the errors of the writes before
}

// printf writes to a tabwriter, whose Flush returns the errors.
func printf(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

func writeNode(w io.Writer, l *longlinev1.GetLedgerResponse) {
	received, published := &accounts[*longlinev1.ReceiverLedger]{}, &accounts[*longlinev1.PublisherLedger]{}
	for _, k := range l.Kinds {
		if k.Received != nil {
			received.add(k.Kind, k.Received)
		}
		if k.Published != nil {
			published.add(k.Kind, k.Published)
		}
	}
	received.add("all", l.Received)
	published.add("all", l.Published)
	printf(w, "since %s\n\n", l.Since.AsTime().Local().Format(time.DateTime))
	writeReceivers(w, received)
	printf(w, "\n")
	writePublishers(w, published)
	if e := l.Earlier; e.GetLives() > 0 || e.GetCarried() > 0 {
		printf(w, "\n")
		writeEarlier(w, e)
	}
}

func writeDevice(w io.Writer, l *longlinev1.DeviceLedger) {
	state := "away"
	if l.Online {
		state = "on line"
	}
	printf(w, "%s, %s, session %s\n\n", l.Device, state, l.Session)
	received, published := &accounts[*longlinev1.ReceiverLedger]{}, &accounts[*longlinev1.PublisherLedger]{}
	received.add("", l.Received)
	published.add("", l.Published)
	writeReceivers(w, received)
	printf(w, "\n")
	writePublishers(w, published)
}

// accounts are the columns of a table.
type accounts[T any] struct {
	names []string
	all   []T
}

func (a *accounts[T]) add(name string, x T) {
	a.names, a.all = append(a.names, name), append(a.all, x)
}

// row writes a row, unless all its values are 0 and it may be left out.
func (a *accounts[T]) row(w io.Writer, name string, optional bool, value func(T) int64) {
	cells, some := "", !optional
	for _, x := range a.all {
		v := value(x)
		some = some || v != 0
		cells += fmt.Sprintf("%d\t", v)
	}
	if some {
		printf(w, "%s\t%s\n", name, cells)
	}
}

// reasons writes a row per reason.
func (a *accounts[T]) reasons(w io.Writer, name string, counts func(T) []*longlinev1.LedgerCount) {
	seen := make(map[string]bool)
	for _, x := range a.all {
		for _, c := range counts(x) {
			if seen[c.Reason] {
				continue
			}
			seen[c.Reason] = true
			a.row(w, name+" "+c.Reason, true, func(x T) int64 { return messagesOf(counts(x), c.Reason) })
		}
	}
}

func messagesOf(counts []*longlinev1.LedgerCount, reason string) int64 {
	for _, c := range counts {
		if c.Reason == reason {
			return int64(c.Messages)
		}
	}
	return 0
}

func writeReceivers(w io.Writer, a *accounts[*longlinev1.ReceiverLedger]) {
	type r = *longlinev1.ReceiverLedger
	printf(w, "received\t%s\t\n", strings.Join(a.names, "\t"))
	a.row(w, "taken", false, func(x r) int64 { return int64(x.Taken) })
	a.row(w, "found", true, func(x r) int64 { return int64(x.Found) })
	a.row(w, "moved in", true, func(x r) int64 { return int64(x.MovedIn) })
	a.row(w, "delivered", false, func(x r) int64 { return int64(x.Delivered) })
	a.row(w, "acknowledged", false, func(x r) int64 { return int64(x.Acknowledged) })
	a.row(w, "waiting", false, func(x r) int64 { return int64(x.Waiting) })
	a.row(w, "expired", true, func(x r) int64 { return int64(x.Expired) })
	a.row(w, "moved out", true, func(x r) int64 { return int64(x.MovedOut) })
	a.reasons(w, "dropped:", r.GetDropped)
	a.reasons(w, "lost:", r.GetLost)
	a.row(w, "NOT EXPLAINED", true, r.GetDifference)
}

func writePublishers(w io.Writer, a *accounts[*longlinev1.PublisherLedger]) {
	type p = *longlinev1.PublisherLedger
	printf(w, "published\t%s\t\n", strings.Join(a.names, "\t"))
	a.row(w, "published", false, func(x p) int64 { return int64(x.Published) })
	a.row(w, "taken", false, func(x p) int64 { return int64(x.Taken) })
	a.row(w, "repeated", true, func(x p) int64 { return int64(x.Repeated) })
	a.row(w, "waiting", false, func(x p) int64 { return int64(x.Waiting) })
	a.reasons(w, "refused:", p.GetRefused)
	a.row(w, "(acknowledged)", false, func(x p) int64 { return int64(x.Acknowledged) })
	a.row(w, "NOT EXPLAINED", true, p.GetDifference)
}

func writeEarlier(w io.Writer, e *longlinev1.EarlierLedger) {
	received := &accounts[*longlinev1.ReceiverLedger]{}
	received.add("", e.Received)
	printf(w, "earlier lives of the node: %d, since %s; not ended in order: %d\n\n", e.Lives, e.Since.AsTime().Local().Format(time.DateTime), e.Killed)
	writeReceivers(w, received)
	printf(w, "found by this life\t%d\t\n", e.Carried)
	if e.Unknown != 0 || len(e.Gaps) > 0 {
		printf(w, "not known\t%d\t\n", e.Unknown)
	}
	if e.Difference != 0 {
		printf(w, "NOT EXPLAINED\t%d\t\n", e.Difference)
	}
	for _, g := range e.Gaps {
		from, to := g.From.AsTime().Local().Format(time.DateTime), g.To.AsTime().Local().Format(time.DateTime)
		printf(w, "nothing is known of the time from %s to %s\n", cmp.Or(from, "?"), to)
	}
}
