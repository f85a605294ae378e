package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/command"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// maxKey is the length of an idempotency key, in bytes.
const maxKey = 128

// errNoCommands refuses requests about commands on a node that keeps none.
var errNoCommands = connect.NewError(connect.CodeUnimplemented, errors.New("this node keeps no commands"))

// commands returns the commands of the node.
func (a *API) commands() (Commands, error) {
	if a.node.Commands == nil {
		return nil, errNoCommands
	}
	return a.node.Commands, nil
}

// CreateCommand implements GatewayHandler.
func (a *API) CreateCommand(ctx context.Context, r *connect.Request[longlinev1.CreateCommandRequest]) (*connect.Response[longlinev1.CreateCommandResponse], error) {
	commands, err := a.commands()
	if err != nil {
		return nil, err
	}
	request, ttl, err := a.config.commanded(r.Msg, commands.Config())
	if err != nil {
		return nil, err
	}
	done, err := a.beginCommanding()
	if err != nil {
		return nil, err
	}
	defer done()
	if err := a.claim(ctx, request.Device); err != nil {
		return nil, err
	}
	c, existed, err := commands.Create(ctx, request, ttl)
	if err != nil {
		return nil, coded(err)
	}
	return connect.NewResponse(&longlinev1.CreateCommandResponse{Command: shown(c, asText(r), whole), Existed: existed}), nil
}

// claim makes this node the owner of a device in its cluster, unless another node is: then it returns errMoved.
func (a *API) claim(ctx context.Context, device string) error {
	if a.node.Cluster == nil {
		return nil
	}
	switch owner, err := a.node.Cluster.ClaimFor(ctx, device); {
	case err != nil:
		return connect.NewError(codeOf(err, connect.CodeUnavailable), fmt.Errorf("the device cannot be claimed: %w", err))
	case owner != a.self():
		return errMoved
	}
	return nil
}

// commanded checks the request of a command. It shares the request's memory, which nobody changes.
func (c *Config) commanded(r *longlinev1.CreateCommandRequest, limits command.Config) (*command.Request, time.Duration, error) {
	if err := validDevice("device", r.Device); err != nil {
		return nil, 0, err
	}
	if err := validMethod(r.Method); err != nil {
		return nil, 0, err
	}
	own := *c
	own.MaxPayload = limits.MaxPayload
	payload, contentType, err := own.content("", r.Payload, r.Text, r.ContentType)
	if err != nil {
		return nil, 0, err
	}
	ttl, err := validDuration("ttl", r.Ttl, limits.MaxTTL)
	if err != nil {
		return nil, 0, err
	}
	if err := validText("idempotency_key", r.IdempotencyKey, maxKey); err != nil {
		return nil, 0, err
	}
	return &command.Request{
		Device:      r.Device,
		Method:      r.Method,
		Payload:     payload,
		ContentType: contentType,
		Key:         r.IdempotencyKey,
		Exclusive:   r.Exclusive,
	}, cmp.Or(ttl, limits.TTL), nil
}

// beginCommanding counts a request that waits for the store. The caller calls done at its end.
func (a *API) beginCommanding() (done func(), err error) {
	if a.commanding.Add(1) > int64(a.config.MaxPublishing) {
		a.commanding.Add(-1)
		return nil, exhausted("%d requests about commands are waiting for the store, which is the limit", a.config.MaxPublishing)
	}
	return func() { a.commanding.Add(-1) }, nil
}

// GetCommand implements GatewayHandler.
func (a *API) GetCommand(_ context.Context, r *connect.Request[longlinev1.GetCommandRequest]) (*connect.Response[longlinev1.GetCommandResponse], error) {
	commands, err := a.commands()
	if err != nil {
		return nil, err
	}
	c, err := commands.Get(r.Msg.Id)
	if err != nil {
		return nil, coded(err)
	}
	return connect.NewResponse(&longlinev1.GetCommandResponse{Command: shown(c, asText(r), whole)}), nil
}

// CancelCommand implements GatewayHandler.
func (a *API) CancelCommand(ctx context.Context, r *connect.Request[longlinev1.CancelCommandRequest]) (*connect.Response[longlinev1.CancelCommandResponse], error) {
	commands, err := a.commands()
	if err != nil {
		return nil, err
	}
	done, err := a.beginCommanding()
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := commands.Cancel(ctx, r.Msg.Id)
	if err != nil {
		return nil, coded(err)
	}
	return connect.NewResponse(&longlinev1.CancelCommandResponse{Command: shown(c, asText(r), whole)}), nil
}

// ListCommands implements GatewayHandler.
func (a *API) ListCommands(ctx context.Context, r *connect.Request[longlinev1.ListCommandsRequest]) (*connect.Response[longlinev1.ListCommandsResponse], error) {
	commands, err := a.commands()
	if err != nil {
		return nil, err
	}
	page := command.Page{Device: r.Msg.Device, Limit: a.pageSize(r.Msg.PageSize)}
	if page.State, err = selectedCommands(r.Msg.Device, r.Msg.State); err != nil {
		return nil, err
	}
	if page.After, err = parsePosition(r.Msg.PageToken); err != nil {
		return nil, err
	}
	list, next, err := commands.List(ctx, page)
	if err != nil {
		return nil, coded(err)
	}
	response := new(longlinev1.ListCommandsResponse)
	for _, c := range list {
		response.Commands = append(response.Commands, shown(c, false, without))
	}
	if next != (command.Position{}) {
		response.NextPageToken = positionToken(next)
	}
	return connect.NewResponse(response), nil
}

// positionToken returns the page token of a position.
func positionToken(at command.Position) string {
	return at.Device + "/" + strconv.FormatUint(at.ID, 10)
}

// parsePosition returns the position of a page token.
func parsePosition(token string) (at command.Position, err error) {
	if token == "" {
		return at, nil
	}
	device, number, _ := strings.Cut(token, "/")
	at.Device = device
	if at.ID, err = strconv.ParseUint(number, 10, 53); err != nil {
		return at, invalid("page_token", "is not a next_page_token")
	}
	return at, validDevice("page_token", device)
}

// selectedCommands checks which commands a request is about.
func selectedCommands(device string, state longlinev1.CommandState) (command.State, error) {
	if device != "" {
		if err := validDevice("device", device); err != nil {
			return 0, err
		}
	}
	if state < 0 || state > longlinev1.CommandState_COMMAND_STATE_UNKNOWN {
		return 0, invalid("state", "is %d: want a CommandState", state)
	}
	return command.State(state), nil
}

// asText reports whether the answer to a request shows payloads as text: a caller who uses JSON would get base64.
func asText(r connect.AnyRequest) bool { return asJSON(r) || r.HTTPMethod() == http.MethodGet }

// content of a command that is shown.
type detail uint8

const (
	without detail = iota // no payload
	answers               // the payloads of answers
	whole                 // all payloads
)

// shown returns a command as the API shows it. The numbers of states are the same.
func shown(c *command.Command, text bool, d detail) *longlinev1.Command {
	out := &longlinev1.Command{
		Id:             c.ID,
		Device:         c.Device,
		Method:         c.Method,
		ContentType:    c.ContentType,
		IdempotencyKey: c.Key,
		Exclusive:      c.Exclusive,
		State:          longlinev1.CommandState(c.State),
		Created:        timestamp(c.Created),
		Expires:        timestamp(c.Expires),
		Ended:          timestamp(c.Ended),
		Attempts:       c.Attempts,
		Answer:         shownAnswer(c.Answer, text, d),
		Late:           shownAnswer(c.Late, text, d),
		Held:           c.Held,
	}
	if d == whole {
		out.Payload, out.Text = content(c.Payload, text)
	}
	for _, e := range c.History {
		out.History = append(out.History, &longlinev1.CommandEvent{
			State:     longlinev1.CommandState(e.State),
			Ts:        timestamp(e.Time),
			Attempt:   e.Attempt,
			Session:   e.Session,
			Connected: timestamp(e.Since),
		})
	}
	return out
}

func shownAnswer(a *command.Answer, text bool, d detail) *longlinev1.CommandAnswer {
	if a == nil {
		return nil
	}
	out := &longlinev1.CommandAnswer{ContentType: a.ContentType, Ts: timestamp(a.Time), Omitted: uint64(a.Omitted)}
	if a.Err.Code != "" {
		out.Error = &longlinev1.Error{Code: a.Err.Code, Reason: a.Err.Reason}
	}
	if d > without {
		out.Payload, out.Text = content(a.Payload, text)
	}
	return out
}
