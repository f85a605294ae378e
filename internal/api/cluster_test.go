package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/stream"
	"github.com/longline/longline/internal/wire"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// fakeCluster is several nodes in one process.
type fakeCluster struct {
	// Static after newCluster.
	nodes []*fakeNode

	mu     sync.Mutex
	owners map[string]string // by device
	stale  map[string]string // what is remembered of owners and is not true any more
	asked  []string          // procedures that crossed the cluster
}

// fakeNode is one of them; it implements Cluster.
type fakeNode struct {
	*world
	cluster *fakeCluster
	name    string

	// Guarded by fakeCluster.mu.
	state  devices.NodeState
	away   error // of who asks this node
	silent bool  // it gets requests and does not answer
}

// newCluster starts nodes gw-1, gw-2 and gw-3.
func newCluster(t testing.TB, c Config) *fakeCluster {
	t.Helper()
	all := &fakeCluster{owners: make(map[string]string), stale: make(map[string]string)}
	for i := range 3 {
		n := &fakeNode{cluster: all, name: fmt.Sprintf("gw-%d", i+1), state: devices.NodeUp}
		n.world = newWorldIn(t, c, router.Config{MaxWait: time.Second}, n)
		all.nodes = append(all.nodes, n)
	}
	return all
}

func (c *fakeCluster) locked(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// connect attaches a device at a node, which owns it.
func (c *fakeCluster) connect(t testing.TB, node int, id string, d *fakeDevice, filters ...string) *fakeDevice {
	t.Helper()
	c.locked(func() { c.owners[id] = c.nodes[node].name })
	return c.nodes[node].connect(t, id, d, filters...)
}

func (n *fakeNode) Name() string { return "test" }
func (n *fakeNode) Self() string { return n.name }

func (n *fakeNode) Nodes() (list []devices.Node) {
	n.cluster.locked(func() {
		for _, o := range n.cluster.nodes {
			list = append(list, devices.Node{Name: o.name, Life: 7, State: o.state, Self: o == n, Age: time.Second})
		}
	})
	return list
}

func (n *fakeNode) Owner(_ context.Context, device string, fresh bool) (owner string, err error) {
	n.cluster.locked(func() {
		owner = n.cluster.owners[device]
		if old, ok := n.cluster.stale[device]; ok && !fresh {
			owner = old
		}
	})
	return owner, nil
}

func (n *fakeNode) ClaimFor(_ context.Context, device string) (owner string, err error) {
	n.cluster.locked(func() {
		if n.cluster.owners[device] == "" {
			n.cluster.owners[device] = n.name
		}
		owner = n.cluster.owners[device]
	})
	return owner, nil
}

func (n *fakeNode) Ask(ctx context.Context, node, procedure string, request []byte) ([]byte, error) {
	i := slices.IndexFunc(n.cluster.nodes, func(o *fakeNode) bool { return o.name == node })
	if i < 0 || n.cluster.nodes[i] == n {
		return nil, errors.New("a node asks itself, or one that there is not")
	}
	to := n.cluster.nodes[i]
	var away error
	var silent bool
	n.cluster.locked(func() {
		away, silent = to.away, to.silent
		n.cluster.asked = append(n.cluster.asked, procedure)
	})
	switch {
	case away != nil:
		return nil, away
	case silent:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return to.api.Answer(ctx, procedure, request), nil
}

// crossed returns the procedures that crossed the cluster since the last call.
func (c *fakeCluster) crossed() (list []string) {
	c.locked(func() { list, c.asked = c.asked, nil })
	return list
}

// Every unary method has its place in the cluster, and requests have what their place needs.
func TestMethodsHaveTheirPlace(t *testing.T) {
	service := longlinev1.File_longline_v1_gateway_proto.Services().ByName("Gateway")
	all := 0
	for i := range service.Methods().Len() {
		d := service.Methods().Get(i)
		if d.IsStreamingClient() || d.IsStreamingServer() {
			continue
		}
		all++
		m := methods["/longline.v1.Gateway/"+string(d.Name())]
		if m == nil {
			t.Errorf("%s has no place", d.Name())
			continue
		}
		request, response := m.request().ProtoReflect().Descriptor(), m.response().ProtoReflect().Descriptor()
		if request.FullName() != d.Input().FullName() || response.FullName() != d.Output().FullName() {
			t.Errorf("%s: it has %s and %s", d.Name(), request.FullName(), response.FullName())
		}
		has := func(field string) bool { return request.Fields().ByName(protoreflect.Name(field)) != nil }
		switch m.where {
		case atOwner, atClaimer:
			if !has("device") {
				t.Errorf("%s: the request has no device", d.Name())
			}
		case atHolder:
			if !has("id") {
				t.Errorf("%s: the request has no id", d.Name())
			}
		case atNamed:
			if !has("node") {
				t.Errorf("%s: the request has no node", d.Name())
			}
		case everywhere:
			if m.part == nil || m.merge == nil {
				t.Errorf("%s: its answers are not merged", d.Name())
			}
		case here:
		default:
			t.Errorf("%s: it is nowhere", d.Name())
		}
	}
	if all != len(methods) {
		t.Errorf("the API has %d unary methods, the table %d", all, len(methods))
	}
}

func TestDevicesOfOtherNodes(t *testing.T) {
	c := newCluster(t, Config{})
	d := c.connect(t, 1, "m-1", &fakeDevice{reply: func(p *wire.Packet) *wire.Packet { return &wire.Packet{Payload: p.Payload} }}, "cmd/#")
	for _, protocol := range []string{"grpc", "json"} {
		api := c.nodes[0].client(protocol)
		got, err := api.GetDevice(t.Context(), connect.NewRequest(&longlinev1.GetDeviceRequest{Device: "m-1"}))
		if err != nil || got.Msg.Device.Device != "m-1" || len(got.Msg.Device.Subscriptions) != 1 {
			t.Errorf("%s: GetDevice: %v, %v", protocol, got, err)
		}
		text := `"hi"`
		reply, err := api.Call(t.Context(), connect.NewRequest(&longlinev1.CallRequest{Device: "m-1", Method: "echo", Text: &text}))
		if err != nil || reply.Msg.GetText() != text {
			t.Errorf("%s: Call: %v, %v", protocol, reply, err)
		}
		l, err := api.GetDeviceLedger(t.Context(), connect.NewRequest(&longlinev1.GetDeviceLedgerRequest{Device: "m-1"}))
		if err != nil || l.Msg.Ledger.Device != "m-1" {
			t.Errorf("%s: GetDeviceLedger: %v, %v", protocol, l, err)
		}
	}
	api := c.nodes[0].client("grpc")
	if r, err := api.Disconnect(t.Context(), connect.NewRequest(&longlinev1.DisconnectRequest{Device: "m-1", Reason: "stolen"})); err != nil || !r.Msg.Disconnected {
		t.Fatal(r, err)
	}
	if why := <-d.closed; why.Reason != "stolen" {
		t.Errorf("closed with %q", why.Reason)
	}
	c.nodes[1].leave(d)
	_, err := api.Call(t.Context(), connect.NewRequest(&longlinev1.CallRequest{Device: "m-1", Method: "echo"}))
	if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "node gw-2: "+devices.ErrOffline.Error()) {
		t.Errorf("a call to a device that is away at another node: %v", err)
	}
}

// What is remembered of a device's owner may be old. A request crosses the cluster once to each node that is taken for the owner, and no further.
func TestOwnersAreCorrected(t *testing.T) {
	c := newCluster(t, Config{})
	c.connect(t, 1, "m-1", new(fakeDevice))
	api := c.nodes[0].client("grpc")
	for _, test := range []struct {
		device, stale string
		want          connect.Code
		crossed       int
	}{
		{"m-1", "gw-3", 0, 2},
		{"m-1", "gw-1", 0, 1}, // this node had it
		{"m-1", "", 0, 1},     // there was none
		{"none", "", connect.CodeNotFound, 0},
		{"gone", "gw-2", connect.CodeNotFound, 1},
	} {
		c.locked(func() { c.stale[test.device] = test.stale })
		_, err := api.GetDevice(t.Context(), connect.NewRequest(&longlinev1.GetDeviceRequest{Device: test.device}))
		if err == nil && test.want != 0 || err != nil && connect.CodeOf(err) != test.want {
			t.Errorf("%s, remembered at %q: %v", test.device, test.stale, err)
		}
		if crossed := c.crossed(); len(crossed) != test.crossed {
			t.Errorf("%s, remembered at %q: crossed by %v, want %d", test.device, test.stale, crossed, test.crossed)
		}
	}
}

func TestListsAreMerged(t *testing.T) {
	c := newCluster(t, Config{MaxPageSize: 40})
	var want []string
	for i := range 90 {
		id := fmt.Sprintf("m-%02d", i)
		want = append(want, id)
		c.connect(t, i*i%3, id, new(fakeDevice))
	}
	api := c.nodes[2].client("grpc")
	for _, size := range []uint32{0, 1, 7, 30, 1000} {
		got := slices.Concat(pages(t, api, &longlinev1.ListDevicesRequest{PageSize: size})...)
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: got %d devices: %v", size, len(got), got)
		}
		got = nil
		for r := (&longlinev1.ListDeviceLedgersRequest{PageSize: size}); ; {
			l, err := api.ListDeviceLedgers(t.Context(), connect.NewRequest(r))
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range l.Msg.Ledgers {
				got = append(got, one.Device)
			}
			if r.PageToken = l.Msg.NextPageToken; r.PageToken == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("ledgers by pages of %d: got %d: %v", size, len(got), got)
		}
	}
}

// A device that moves may be at two nodes for a moment. It is listed once, as it is where it is connected.
func TestListsHaveADeviceOnce(t *testing.T) {
	c := newCluster(t, Config{})
	c.nodes[0].leave(c.connect(t, 0, "m-1", new(fakeDevice)))
	c.connect(t, 1, "m-1", new(fakeDevice))
	for _, n := range c.nodes {
		r, err := n.client("grpc").ListDevices(t.Context(), connect.NewRequest(new(longlinev1.ListDevicesRequest)))
		if err != nil || len(r.Msg.Devices) != 1 || !r.Msg.Devices[0].Online {
			t.Errorf("%s: %v, %v", n.name, r, err)
		}
	}
}

func TestBroadcastAndRevokeReachAllNodes(t *testing.T) {
	c := newCluster(t, Config{})
	var all []*fakeDevice
	for i := range 3 {
		all = append(all, c.connect(t, i, fmt.Sprint("m-", i), new(fakeDevice), "news"))
	}
	api := c.nodes[1].client("grpc")
	r, err := api.Broadcast(t.Context(), connect.NewRequest(&longlinev1.BroadcastRequest{Message: &longlinev1.Message{Topic: "t", Qos: 1}}))
	if err != nil || r.Msg.Devices != 3 {
		t.Fatal(r, err)
	}
	for _, d := range all {
		<-d.got
	}
	until := timestamppb.New(time.Now().Add(time.Hour))
	revoked, err := api.Revoke(t.Context(), connect.NewRequest(&longlinev1.RevokeRequest{Device: "m-0", Until: until}))
	if err != nil || revoked.Msg.Closed != 3 { // the fake gateways count one each
		t.Fatal(revoked, err)
	}
	for i, n := range c.nodes {
		if len(n.gateway.revoked) != 1 || len(n.kept) != i%2 {
			t.Errorf("%s: revoked %v, kept %v", n.name, n.gateway.revoked, n.kept)
		}
	}
	c.nodes[1].world.keeping = errors.New("Redis is away")
	_, err = api.Revoke(t.Context(), connect.NewRequest(&longlinev1.RevokeRequest{Credential: "jti", Until: until}))
	if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "only 2 of 3 nodes") {
		t.Errorf("while it cannot be kept: %v", err)
	}
	for _, n := range c.nodes {
		if len(n.gateway.revoked) != 2 {
			t.Errorf("%s: revoked %v", n.name, n.gateway.revoked)
		}
	}
}

// A node that does not answer makes an answer incomplete, and the error says which node it is.
func TestNodesThatDoNotAnswer(t *testing.T) {
	c := newCluster(t, Config{})
	for i := range 3 {
		c.connect(t, i, fmt.Sprint("m-", i), new(fakeDevice))
	}
	c.nodes[0].api.asking = 50 * time.Millisecond
	api := c.nodes[0].client("grpc")
	for name, fail := range map[string]func(n *fakeNode){
		"away":   func(n *fakeNode) { n.away = fmt.Errorf("no answer: %w", devices.ErrNodeAway) },
		"silent": func(n *fakeNode) { n.silent = true },
		"dead":   func(n *fakeNode) { n.state = devices.NodeDead },
	} {
		n := c.nodes[2]
		c.locked(func() { fail(n) })
		_, err := api.ListDevices(t.Context(), connect.NewRequest(new(longlinev1.ListDevicesRequest)))
		if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "only 2 of 3 nodes have answered: node gw-3") {
			t.Errorf("%s: ListDevices: %v", name, err)
		}
		_, err = api.Broadcast(t.Context(), connect.NewRequest(&longlinev1.BroadcastRequest{Message: &longlinev1.Message{Topic: "t"}}))
		if n := broadcastOf(t, err).GetDevices(); connect.CodeOf(err) != connect.CodeUnavailable || n != 2 {
			t.Errorf("%s: Broadcast: %v; its detail says %d devices", name, err, n)
		}
		_, err = api.GetCommand(t.Context(), connect.NewRequest(&longlinev1.GetCommandRequest{Id: 1}))
		if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "gw-3") {
			t.Errorf("%s: GetCommand: %v", name, err)
		}
		if name != "dead" {
			_, err = api.GetDevice(t.Context(), connect.NewRequest(&longlinev1.GetDeviceRequest{Device: "m-2"}))
			if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "node gw-3") {
				t.Errorf("%s: GetDevice: %v", name, err)
			}
		}
		if _, err = api.GetDevice(t.Context(), connect.NewRequest(&longlinev1.GetDeviceRequest{Device: "m-1"})); err != nil {
			t.Errorf("%s: a device at another node: %v", name, err)
		}
		c.locked(func() { n.away, n.silent, n.state = nil, false, devices.NodeUp })
	}
}

// broadcastOf returns the response in the details of an error.
func broadcastOf(t *testing.T, err error) *longlinev1.BroadcastResponse {
	t.Helper()
	var c *connect.Error
	if !errors.As(err, &c) || len(c.Details()) != 1 {
		t.Errorf("the error has no detail: %v", err)
		return nil
	}
	v, err := c.Details()[0].Value()
	if err != nil {
		t.Error(err)
	}
	return v.(*longlinev1.BroadcastResponse)
}

// A request that is wrong is refused by the node that gets it.
func TestWrongRequestsStayHere(t *testing.T) {
	c := newCluster(t, Config{})
	api := c.nodes[0].client("grpc")
	for name, err := range map[string]error{
		"device": call(api.GetDevice(t.Context(), connect.NewRequest(&longlinev1.GetDeviceRequest{Device: "a/b"}))),
		"state":  call(api.ListDevices(t.Context(), connect.NewRequest(&longlinev1.ListDevicesRequest{State: 99}))),
		"topic":  call(api.Broadcast(t.Context(), connect.NewRequest(&longlinev1.BroadcastRequest{Message: new(longlinev1.Message)}))),
		"replay": call(api.ReplaySink(t.Context(), connect.NewRequest(&longlinev1.ReplaySinkRequest{Sink: "s", From: 1}))),
	} {
		if connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if crossed := c.crossed(); len(crossed) > 0 {
		t.Errorf("crossed the cluster: %v", crossed)
	}
}

func call[R any](_ *connect.Response[R], err error) error { return err }

func TestNamedNodes(t *testing.T) {
	c := newCluster(t, Config{})
	api := c.nodes[0].client("grpc")
	if _, err := api.Drain(t.Context(), connect.NewRequest(&longlinev1.DrainRequest{Node: "gw-2"})); err != nil {
		t.Fatal(err)
	}
	for i, n := range c.nodes {
		if n.gateway.drained.Load() != (i == 1) {
			t.Errorf("%s: drained %v", n.name, n.gateway.drained.Load())
		}
	}
	_, err := api.Drain(t.Context(), connect.NewRequest(&longlinev1.DrainRequest{Node: "gw-9"}))
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a node that there is not: %v", err)
	}
	w := newWorld(t, Config{}, router.Config{})
	_, err = w.client("grpc").Drain(t.Context(), connect.NewRequest(&longlinev1.DrainRequest{Node: "gw-1"}))
	if connect.CodeOf(err) != connect.CodeInvalidArgument || w.gateway.drained.Load() {
		t.Errorf("without a cluster: %v", err)
	}
}

// The caller's role goes with a request, and another node looks at it as well.
func TestRolesGoWithRequests(t *testing.T) {
	c := newCluster(t, Config{})
	body, err := proto.Marshal(&longlinev1.DisconnectRequest{Device: "m-1"})
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[auth.Role]connect.Code{
		auth.NoRole: connect.CodePermissionDenied, auth.Read: connect.CodePermissionDenied, auth.Operate: connect.CodeNotFound, auth.Admin: connect.CodeNotFound,
	} {
		e := envelope{caller: auth.Caller{Role: role, Name: "ops"}, header: make(http.Header), body: body}
		answer := c.nodes[0].api.Answer(t.Context(), longlinev1connect.GatewayDisconnectProcedure, e.append(nil))
		if _, err := openAnswer(answer); connect.CodeOf(err) != want {
			t.Errorf("%s: %v", role, err)
		}
	}
	if crossed := c.crossed(); len(crossed) > 0 {
		t.Errorf("a request of another node crossed the cluster again: %v", crossed)
	}
}

func TestLedgersAreSummed(t *testing.T) {
	c := newCluster(t, Config{})
	for i, n := range c.nodes {
		d := c.connect(t, i, fmt.Sprint("m-", i), new(fakeDevice), "t")
		if _, err := publish(t.Context(), n.client("grpc"), &longlinev1.Message{Topic: "t", Qos: 1}); err != nil {
			t.Fatal(err)
		}
		<-d.got
	}
	r, err := c.nodes[0].client("grpc").GetLedger(t.Context(), connect.NewRequest(new(longlinev1.GetLedgerRequest)))
	if err != nil || r.Msg.Received.Taken != 3 || !r.Msg.Balanced {
		t.Errorf("all nodes: %v, %v", r, err)
	}
	r, err = c.nodes[0].client("grpc").GetLedger(t.Context(), connect.NewRequest(&longlinev1.GetLedgerRequest{Node: "gw-2"}))
	if err != nil || r.Msg.Received.Taken != 1 {
		t.Errorf("one node: %v, %v", r, err)
	}
}

func TestListNodes(t *testing.T) {
	c := newCluster(t, Config{})
	c.locked(func() { c.nodes[2].state = devices.NodeDead })
	r, err := c.nodes[1].client("json").ListNodes(t.Context(), connect.NewRequest(new(longlinev1.ListNodesRequest)))
	if err != nil || r.Msg.Cluster != "test" || len(r.Msg.Nodes) != 3 {
		t.Fatal(r, err)
	}
	for i, n := range r.Msg.Nodes {
		if n.Name != c.nodes[i].name || n.Self != (i == 1) || (n.State == longlinev1.NodeState_NODE_STATE_DEAD) != (i == 2) || n.Life != 7 {
			t.Errorf("got %v", n)
		}
	}
	w := newWorld(t, Config{}, router.Config{})
	if r, err = w.client("grpc").ListNodes(t.Context(), connect.NewRequest(new(longlinev1.ListNodesRequest))); err != nil || len(r.Msg.Nodes) != 1 || !r.Msg.Nodes[0].Self {
		t.Errorf("without a cluster: %v, %v", r, err)
	}
}

func TestCommandsOfOtherNodes(t *testing.T) {
	c := newCluster(t, Config{MaxPageSize: 2})
	c.nodes[1].leave(c.connect(t, 1, "m-1", new(fakeDevice)))
	here, there := c.nodes[0].client("grpc"), c.nodes[2].client("json")
	var want []uint64
	for _, device := range []string{"m-1", "m-1", "m-2"} {
		r, err := here.CreateCommand(t.Context(), connect.NewRequest(&longlinev1.CreateCommandRequest{Device: device, Method: "reset", Payload: []byte{1}}))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, r.Msg.Command.Id)
	}
	for i, at := range []int{1, 1, 0} { // nobody had m-2: the node that was asked has it
		if _, err := c.nodes[at].commands.Get(want[i]); err != nil {
			t.Errorf("command %d at gw-%d: %v", i, at+1, err)
		}
	}
	for _, id := range want {
		r, err := there.GetCommand(t.Context(), connect.NewRequest(&longlinev1.GetCommandRequest{Id: id}))
		if err != nil || r.Msg.Command.Id != id {
			t.Errorf("GetCommand: %v, %v", r, err)
		}
	}
	var got []uint64
	for r := new(longlinev1.ListCommandsRequest); ; {
		l, err := there.ListCommands(t.Context(), connect.NewRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range l.Msg.Commands {
			got = append(got, x.Id)
		}
		if r.PageToken = l.Msg.NextPageToken; r.PageToken == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	r, err := there.CancelCommand(t.Context(), connect.NewRequest(&longlinev1.CancelCommandRequest{Id: want[0]}))
	if err != nil || r.Msg.Command.State != longlinev1.CommandState_COMMAND_STATE_CANCELLED {
		t.Errorf("CancelCommand: %v, %v", r, err)
	}
	_, err = there.GetCommand(t.Context(), connect.NewRequest(&longlinev1.GetCommandRequest{Id: 1}))
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("no such command: %v", err)
	}
}

// movingCommands are those of a node whose device moves to another node while a command is created, or cancelled.
type movingCommands struct {
	Commands
	moves func()
}

func (m movingCommands) Create(context.Context, *command.Request, time.Duration) (*command.Command, bool, error) {
	m.moves()
	return nil, false, command.ErrMoved
}

func (m movingCommands) Cancel(context.Context, uint64) (*command.Command, error) {
	m.moves()
	return nil, command.ErrMoved
}

// A command whose device moves while it is created is created where the device is, if that cannot make two of it.
func TestCommandsOfDevicesThatMove(t *testing.T) {
	c := newCluster(t, Config{})
	from, to := c.nodes[1], c.nodes[2]
	from.api.node.Commands = movingCommands{from.commands, func() { c.locked(func() { c.owners["m-1"] = to.name }) }}
	api := c.nodes[0].client("grpc")
	create := func(key string) (*connect.Response[longlinev1.CreateCommandResponse], error) {
		c.locked(func() { c.owners["m-1"] = from.name })
		return api.CreateCommand(t.Context(), connect.NewRequest(&longlinev1.CreateCommandRequest{Device: "m-1", Method: "reset", IdempotencyKey: key}))
	}
	if _, err := create(""); connect.CodeOf(err) != connect.CodeAborted {
		t.Errorf("without a key: %v", err)
	}
	r, err := create("k")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.commands.Get(r.Msg.Command.Id); err != nil {
		t.Errorf("at the new owner: %v", err)
	}
	cancelled, err := api.CancelCommand(t.Context(), connect.NewRequest(&longlinev1.CancelCommandRequest{Id: r.Msg.Command.Id}))
	if err != nil || cancelled.Msg.Command.State != longlinev1.CommandState_COMMAND_STATE_CANCELLED {
		t.Errorf("cancelled: %v, %v", cancelled, err)
	}
}

// A watcher at any node sees the commands of all, as they are and as they change, and goes on where it was.
func TestCommandsOfAllNodesAreWatched(t *testing.T) {
	c := newCluster(t, Config{})
	create := func(node int, device string) uint64 {
		t.Helper()
		c.locked(func() { c.owners[device] = c.nodes[node].name })
		r, err := c.nodes[0].client("grpc").CreateCommand(t.Context(), connect.NewRequest(&longlinev1.CreateCommandRequest{Device: device, Method: "reset"}))
		if err != nil {
			t.Fatal(err)
		}
		return r.Msg.Command.Id
	}
	watch := func(after string) *connect.ServerStreamForClient[longlinev1.WatchCommandsResponse] {
		t.Helper()
		s, err := c.nodes[2].client("grpc").WatchCommands(t.Context(), connect.NewRequest(&longlinev1.WatchCommandsRequest{After: after}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	sees := func(s *connect.ServerStreamForClient[longlinev1.WatchCommandsResponse], want ...uint64) (place string) {
		t.Helper()
		var got []uint64
		live := false
		for (len(got) < len(want) || !live) && s.Receive() {
			for _, x := range s.Msg().Commands {
				got = append(got, x.Id)
			}
			place, live = s.Msg().Place, s.Msg().Live
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("sees %v, want %v: %v", got, want, s.Err())
		}
		return place
	}
	a, b := create(0, "m-0"), create(1, "m-1")
	first := watch("")
	place := sees(first, a, b)
	d := create(1, "m-2")
	sees(first, d)
	sees(watch(place), d)
	e := create(2, "m-3")
	sees(first, e)
}

func FuzzEnvelope(f *testing.F) {
	e := envelope{caller: auth.Caller{Role: auth.Operate, Name: "ops", ID: "x"}, header: http.Header{"Content-Type": {"application/json"}}, body: []byte{1, 2}}
	f.Add(e.append(nil), appendAnswer([]byte{1}, nil))
	f.Add([]byte{}, appendAnswer(nil, invalid("x", "y")))
	read := readRequest{reader: "r", stream: "log", consumer: "c", start: begin{kind: beginAt, at: time.UnixMilli(1)}, messages: 1, bytes: 1}
	part := readAnswer{place: 1, end: 2, entries: []stream.Entry{{Place: 1, Message: &message.Message{Topic: "t"}}}}
	f.Add(read.append(nil), part.append(nil))
	f.Fuzz(func(_ *testing.T, request, answer []byte) {
		_, _ = openEnvelope(request)
		_, _ = openAnswer(answer)
		_, _ = parseReadRequest(request)
		_, _ = parseReadAnswer(answer)
	})
}
