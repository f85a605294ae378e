package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/devices"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// A node that is asked something that others know asks them: the node that has a device, or all of them, whose answers it merges. It has
// authorized the caller and checked its limits; the other nodes get the caller's name and role with the request, answer it, and ask
// nobody. So a request crosses the cluster once.

const (
	// askTimeout is how long a node may take to answer another, beyond the time that the request itself waits.
	askTimeout = 5 * time.Second
	// drainRound is how long one request to drain another node waits. It is repeated until the node is empty.
	drainRound = 30 * time.Second
)

// forwarder is the interceptor that answers requests where they have to be answered.
type forwarder struct{ api *API }

// WrapUnary implements connect.Interceptor.
func (f forwarder) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		m := methods[r.Spec().Procedure]
		switch {
		case f.api.node.Cluster == nil && named(r.Any().(proto.Message)) != "":
			return nil, invalid("node", "is set, and the gateway is in no cluster")
		case f.api.node.Cluster == nil, m.where == here:
			return next(ctx, r)
		}
		q := &asked{api: f.api, cluster: f.api.node.Cluster, method: m, procedure: r.Spec().Procedure, message: r.Any().(proto.Message), header: headerOf(r)}
		response, err := q.answer(ctx)
		if err != nil {
			return nil, coded(err)
		}
		return m.wrap(response), nil
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (forwarder) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// WrapStreamingClient implements connect.Interceptor; there are no clients here.
func (forwarder) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// headerOf returns of a request's header what methods look at.
func headerOf(r connect.AnyRequest) http.Header {
	h := make(http.Header)
	if asText(r) {
		h.Set("Content-Type", "application/json")
	}
	if trace := r.Header().Get("traceparent"); trace != "" {
		h.Set("traceparent", trace)
	}
	return h
}

// asked is a request of a client, which this node has to find an answer to.
type asked struct {
	api       *API
	cluster   Cluster
	method    *method
	procedure string
	message   proto.Message
	header    http.Header
}

// answer returns the cluster's answer.
func (q *asked) answer(ctx context.Context) (proto.Message, error) {
	switch node := named(q.message); {
	case q.method.where == atOwner, q.method.where == atClaimer:
		return q.atOwner(ctx)
	case q.method.where == atHolder:
		return q.atHolder(ctx)
	case node != "":
		return q.atNamed(ctx, node)
	case q.method.where == atNamed:
		return q.at(ctx, q.cluster.Self(), q.message)
	}
	return q.everywhere(ctx)
}

// named returns the node that a request names.
func named(m proto.Message) string {
	if r, ok := m.(interface{ GetNode() string }); ok {
		return r.GetNode()
	}
	return ""
}

// at has a request answered by a node, which may be this one.
func (q *asked) at(ctx context.Context, node string, message proto.Message) (proto.Message, error) {
	if node == q.cluster.Self() {
		response, err := q.method.call(q.api, ctx, message, q.header)
		return response, coded(err)
	}
	ctx, cancel := context.WithTimeout(ctx, q.patience())
	defer cancel()
	return q.api.ask(ctx, node, q.procedure, message, q.header, q.method.response())
}

// patience returns how long another node may take.
func (q *asked) patience() time.Duration {
	switch r := q.message.(type) {
	case *longlinev1.CallRequest:
		if r.Timeout != nil {
			return min(max(r.Timeout.AsDuration(), 0), q.api.config.MaxCallTimeout) + q.api.asking
		}
		return q.api.config.CallTimeout + q.api.asking
	case *longlinev1.BroadcastRequest: // waits for devices whose queues are full
		return q.api.node.Router.MaxWait() + q.api.asking
	case *longlinev1.DrainRequest:
		return drainRound
	}
	return q.api.asking
}

// atOwner has a request answered by the node that has its device. What is known of owners may be old: if the first node that is asked does not know the
// device, the second is the one that Redis names.
func (q *asked) atOwner(ctx context.Context) (response proto.Message, err error) {
	device := q.message.(interface{ GetDevice() string }).GetDevice()
	if err := validDevice("device", device); err != nil {
		return nil, err
	}
	before := ""
	for _, fresh := range []bool{false, true} {
		owner, unknown := q.owner(ctx, device, fresh)
		if unknown != nil {
			return nil, connect.NewError(codeOf(unknown, connect.CodeUnavailable), fmt.Errorf("it is not known which node has the device: %w", unknown))
		}
		if fresh && owner == before {
			break
		}
		if response, err = q.at(ctx, owner, q.message); err == nil || !isMissing(err) && !q.hasMoved(err) {
			break
		}
		before = owner
	}
	return response, err
}

// owner returns the node that answers for a device.
func (q *asked) owner(ctx context.Context, device string, fresh bool) (node string, err error) {
	ctx, cancel := context.WithTimeout(ctx, q.api.asking)
	defer cancel()
	node, err = q.cluster.Owner(ctx, device, fresh)
	if err == nil && node == "" {
		return q.cluster.Self(), nil // which says that it does not know the device, or claims it
	}
	return node, err
}

// isMissing reports whether a node answered that it has not what the request is about.
func isMissing(err error) bool { return connect.CodeOf(err) == connect.CodeNotFound }

// hasMoved reports whether a request about a command was cut off because its device moved, and may be repeated.
func (q *asked) hasMoved(err error) bool {
	if connect.CodeOf(err) != connect.CodeAborted {
		return false
	}
	r, creates := q.message.(*longlinev1.CreateCommandRequest)
	return q.method.where == atHolder || creates && r.IdempotencyKey != ""
}

// errMoved refuses a request about a device that another node has.
var errMoved = connect.NewError(connect.CodeNotFound, errors.New("another node has the device"))

// atHolder has a request answered by the node that has a command. While a device moves, each of its commands is at one node or at both; but two nodes that are asked
// one after the other may both not have it. So they are asked again before the answer is that there is none.
func (q *asked) atHolder(ctx context.Context) (proto.Message, error) {
	response, err := q.at(ctx, q.cluster.Self(), q.message)
	for range 2 {
		if err == nil || !isMissing(err) && !q.hasMoved(err) {
			return response, err
		}
		answers := q.askAll(ctx, q.message)
		for _, a := range answers {
			if a.err == nil || !isMissing(a.err) && !isAway(a.err) && !q.hasMoved(a.err) {
				return a.response, a.err
			}
		}
		if away := failures(answers, isAway); len(away) > 0 {
			return nil, connect.NewError(connect.CodeUnavailable, fmt.Errorf("it is not at the nodes that answer, and not all do: %s", strings.Join(away, "; ")))
		}
	}
	return response, err
}

func isAway(err error) bool { return errors.Is(err, devices.ErrNodeAway) }

// atNamed has a request answered by the node that it names.
func (q *asked) atNamed(ctx context.Context, node string) (response proto.Message, err error) {
	if !slices.ContainsFunc(q.cluster.Nodes(), func(n devices.Node) bool { return n.Name == node }) {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("the cluster has no node %.100q", node))
	}
	_, drains := q.message.(*longlinev1.DrainRequest)
	for {
		begun := time.Now()
		response, err = q.at(ctx, node, q.message)
		if !drains || err == nil || ctx.Err() != nil || time.Since(begun) < drainRound {
			return response, err
		}
	}
}

// everywhere has a request answered by all nodes and merges the answers. This node is the first: what is wrong with the request is wrong everywhere.
func (q *asked) everywhere(ctx context.Context) (proto.Message, error) {
	if r, ok := q.message.(*longlinev1.ReplaySinkRequest); ok && (r.From != 0 || r.To != 0) {
		return nil, invalid("node", "is missing: from and to are places of one node's part of the stream")
	}
	q.limitPage()
	nodes, own := len(q.cluster.Nodes()), nodeAnswer{node: q.cluster.Self()}
	message := q.method.part(q.message, nodes)
	own.response, own.err = q.at(ctx, own.node, message)
	if own.err != nil && (nodes == 1 || connect.CodeOf(own.err) == connect.CodeInvalidArgument) {
		return nil, own.err
	}
	own.err = ofNode(own.node, own.err)
	answers := append([]nodeAnswer{own}, q.askAll(ctx, message)...)
	good := slices.DeleteFunc(slices.Clone(answers), func(a nodeAnswer) bool { return a.err != nil })
	switch failed := failures(answers, func(err error) bool { return !isMissing(err) }); {
	case len(failed) > 0 && !(q.method.away && len(good) > 0):
		return nil, q.incomplete(answers, good, failed)
	case len(good) == 0:
		return nil, own.err
	case !q.method.away:
		answers = good
	}
	slices.SortFunc(answers, func(a, b nodeAnswer) int { return strings.Compare(a.node, b.node) })
	return q.method.merge(q.message, answers), nil
}

// limitPage sets the page size of a request for a list to what its client gets.
func (q *asked) limitPage() {
	switch r := q.message.(type) {
	case *longlinev1.ListDevicesRequest:
		r.PageSize = uint32(q.api.pageSize(r.PageSize))
	case *longlinev1.ListDeviceLedgersRequest:
		r.PageSize = uint32(q.api.pageSize(r.PageSize))
	case *longlinev1.ListCommandsRequest:
		r.PageSize = uint32(q.api.pageSize(r.PageSize))
	}
}

// askAll asks all other nodes at the same time.
func (q *asked) askAll(ctx context.Context, message proto.Message) []nodeAnswer {
	var answers []nodeAnswer
	for _, n := range q.cluster.Nodes() {
		if !n.Self {
			answers = append(answers, nodeAnswer{node: n.Name})
			if n.State == devices.NodeDead {
				answers[len(answers)-1].err = away(n.Name, errors.New("is dead, and its devices are not at other nodes yet"))
			}
		}
	}
	var all sync.WaitGroup
	for i := range answers {
		if a := &answers[i]; a.err == nil {
			all.Go(func() { a.response, a.err = q.at(ctx, a.node, message) })
		}
	}
	all.Wait()
	return answers
}

// failures returns the texts of the errors for which counts returns true.
func failures(answers []nodeAnswer, counts func(error) bool) (texts []string) {
	for _, a := range answers {
		if a.err != nil && counts(a.err) {
			texts = append(texts, messageOf(a.err))
		}
	}
	return texts
}

// largestDetail is the size of an answer that an error may have as its detail: gRPC sends it as a header.
const largestDetail = 1 << 10

// incomplete returns the error of a request that not all nodes have answered. Its detail is the answer of those that have, if it is small.
func (q *asked) incomplete(answers, good []nodeAnswer, failed []string) error {
	code := connect.CodeUnavailable
	for _, a := range answers {
		if a.err != nil && !isMissing(a.err) && !isAway(a.err) {
			code = connect.CodeOf(a.err)
		}
	}
	err := connect.NewError(code, fmt.Errorf("only %d of %d nodes have answered: %s", len(good), len(answers), strings.Join(failed, "; ")))
	if len(good) > 0 {
		if merged := q.method.merge(q.message, good); proto.Size(merged) <= largestDetail {
			if detail, cannot := connect.NewErrorDetail(merged); cannot == nil {
				err.AddDetail(detail)
			}
		}
	}
	return err
}

// messageOf returns the text of an error without its code.
func messageOf(err error) string {
	var c *connect.Error
	if errors.As(err, &c) {
		return c.Message()
	}
	return err.Error()
}

// codeOf returns the code of an error, or otherwise if it has none.
func codeOf(err error, otherwise connect.Code) connect.Code {
	if code := connect.CodeOf(coded(err)); code != connect.CodeInternal && code != connect.CodeUnknown {
		return code
	}
	return otherwise
}

// away returns the error of a node that does not answer.
func away(node string, why error) error {
	return connect.NewError(connect.CodeUnavailable, fmt.Errorf("node %s %w", node, &awayError{why}))
}

// awayError is devices.ErrNodeAway with a reason.
type awayError struct{ why error }

func (e *awayError) Error() string   { return e.why.Error() }
func (e *awayError) Unwrap() []error { return []error{e.why, devices.ErrNodeAway} }

// ask asks another node and fills in response. Errors of the node keep their codes and name it.
func (a *API) ask(ctx context.Context, node, procedure string, message proto.Message, h http.Header, response proto.Message) (proto.Message, error) {
	body, err := proto.Marshal(message)
	if err != nil {
		return nil, coded(err)
	}
	if body, err = a.askBytes(ctx, node, procedure, body, h); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(body, response); err != nil {
		return nil, ofNode(node, err)
	}
	return response, nil
}

// askBytes is ask for a request and an answer that are encoded.
func (a *API) askBytes(ctx context.Context, node, procedure string, body []byte, h http.Header) ([]byte, error) {
	e := envelope{caller: callerOf(ctx).Caller, header: h, body: body}
	request := e.append(nil)
	if len(request) > maxExchanged {
		return nil, exhausted("the request has %d bytes: nodes send each other at most %d", len(request), maxExchanged)
	}
	answer, err := a.node.Cluster.Ask(ctx, node, procedure, request)
	switch {
	case errors.Is(err, context.Canceled):
		return nil, coded(err)
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, away(node, errors.New("has not answered in time"))
	case isAway(err):
		return nil, connect.NewError(connect.CodeUnavailable, fmt.Errorf("node %s: %w", node, err))
	case err != nil:
		return nil, away(node, fmt.Errorf("cannot be asked: %w", err))
	}
	response, err := openAnswer(answer)
	return response, ofNode(node, err)
}

// ofNode makes an error name the node that it is of. The code stays.
func ofNode(node string, err error) error {
	if err == nil {
		return nil
	}
	return connect.NewError(connect.CodeOf(coded(err)), fmt.Errorf("node %s: %s", node, messageOf(err)))
}

// Answer answers a request of another node, see Cluster.Ask. Errors are in the answer. It blocks until ctx ends.
func (a *API) Answer(ctx context.Context, procedure string, request []byte) []byte {
	response, err := a.answerNode(ctx, procedure, request)
	return appendAnswer(response, coded(err))
}

func (a *API) answerNode(ctx context.Context, procedure string, request []byte) ([]byte, error) {
	e, err := openEnvelope(request)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	procedure, wait := strings.CutSuffix(procedure, waits)
	if needs := roleFor(procedure); !e.caller.Role.Allows(needs) {
		return nil, connect.NewError(connect.CodePermissionDenied, errors.New("the role "+needs.String()+" is needed"))
	}
	may := func(needs auth.Role) (auth.Caller, error) {
		if !e.caller.Role.Allows(needs) {
			return e.caller, connect.NewError(connect.CodePermissionDenied, errors.New("the role "+needs.String()+" is needed"))
		}
		return e.caller, nil
	}
	ctx = context.WithValue(ctx, callerKey{}, &caller{Caller: e.caller, isNode: true, may: may})
	switch procedure {
	case longlinev1connect.GatewayConsumeProcedure:
		return a.answerRead(ctx, e.body)
	case longlinev1connect.GatewayWatchCommandsProcedure:
		r := new(longlinev1.WatchCommandsRequest)
		if err := proto.Unmarshal(e.body, r); err != nil {
			return nil, connect.NewError(connect.CodeInternal, err)
		}
		response, err := a.changesHere(ctx, r, wait)
		if err != nil {
			return nil, err
		}
		return proto.Marshal(response)
	}
	m := methods[procedure]
	if m == nil {
		return nil, connect.NewError(connect.CodeUnimplemented, fmt.Errorf("the node has no method %.100q: it has an older version", procedure))
	}
	message := m.request()
	if err := proto.Unmarshal(e.body, message); err != nil {
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	response, err := m.call(a, ctx, message, e.header)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(response)
}
