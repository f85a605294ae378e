package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	storeredis "github.com/longline/longline/internal/store/redis"
)

// Store is the store on Redis, as the cluster needs it: storeredis.Store.
type Store interface {
	Claim(device string, done func(storeredis.Claimed, error))
	Adopt(device, dead string, done func(storeredis.Claimed, error))
	Disown(device string)
	Owner(ctx context.Context, devices []string) ([]string, error)
	Commit(done func(error))
	Err() error
}

// Sessions are the sessions of this node: session.Manager.
type Sessions interface {
	Settle(device string, epoch, since uint64)
	Lose(device string, to session.Move) bool
	Unshadow(device string, epoch uint64)
	Adopt(device string, c session.Claim, died time.Time) error
	DeliverTo(device string, m *message.Message, q message.QoS, p *router.Publication) error
	Connected(device string) bool
	DeliverOwn(device string, m *message.Message, q message.QoS, p *router.Publication) error
	Received(device string, epoch uint64, id uint16, done func(received bool, err error))
}

// Commands are the commands to devices, which move with them: command.Manager.
type Commands interface {
	Restore(device string, values map[string][]byte)
	Forget(device string)
	Keeps(device string) bool
}

// Parts are those of the node that the cluster works with.
type Parts struct {
	Router   *router.Router
	Sessions Sessions
	Store    Store
	Commands Commands // may be nil
}

// Options are what a Node needs besides its configuration.
type Options struct {
	Client   rueidis.Client   // of the caller, who closes it behind Close
	Patience time.Duration    // how long Redis may be away until what waits for it is refused; 0 means 5 s
	Link     *storeredis.Link // of the client, likewise; nil in tests that have no failover
	Version  string
	Log      *slog.Logger

	ahead func() int64 // in tests, in place of Link.Ahead

	// Failed is called once when this life of the node cannot go on: others have taken it for dead, or a newer life of the name has begun.
	Failed func(error)
}

// Node is this node's part in the cluster. Its methods are safe from any goroutine.
//
// Join makes it, so that the store knows who owns what it claims; it takes part from Start on.
type Node struct {
	// Static after Join.
	config   Config
	options  Options
	client   rueidis.Client
	keys     keys
	log      *slog.Logger
	patience time.Duration
	heldTime time.Duration // see inbox.letGo
	logBytes int
	ahead    func() int64 // by how many milliseconds Redis' clock is ahead of this node's
	life     uint64
	owner    string // name/life

	// Static after Start.
	router   *router.Router
	sessions Sessions
	store    Store
	commands Commands
	finder   finder

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup

	waiting atomic.Int64 // bytes that wait to be sent, to all nodes
	counts  counts
	trouble troubleLog

	lease    lease
	members  members
	peers    peers
	interest interest
	log_     follower
	claims   claims
	cache    directory
	moves    moves
	inbox    inbox
	asked    asked
	answer   atomic.Pointer[func(context.Context, string, []byte) ([]byte, error)]
}

// Join begins a life of the node. It blocks until Redis has answered, or ctx ends.
func Join(ctx context.Context, c Config, o Options) (*Node, error) {
	n := &Node{
		config: c, options: o, client: o.Client, keys: keys{c.Prefix()}, log: o.Log, patience: o.Patience,
		heldTime: heldTime, logBytes: logBytes,
	}
	if n.patience == 0 {
		n.patience = 5 * time.Second
	}
	switch {
	case o.ahead != nil:
		n.ahead = o.ahead
	case o.Link != nil:
		n.ahead = o.Link.Ahead
	default:
		n.ahead = func() int64 { return 0 }
	}
	if n.options.Failed == nil {
		n.options.Failed = func(error) {}
	}
	life, err := join.Exec(ctx, n.client, n.keys.nodes(), []string{c.Node, "0"}).ToString()
	if err != nil {
		return nil, fmt.Errorf("joining the cluster %s: %w", c.Name, err)
	}
	n.owner = c.Node + "/" + life
	n.life = lifeOf(n.owner)
	n.init()
	if err := n.renew(ctx); err != nil {
		return nil, fmt.Errorf("joining the cluster %s: %w", c.Name, err)
	}
	return n, nil
}

// init makes what is empty at first.
func (n *Node) init() {
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.members.list.Store(new([]Member))
	n.peers.init()
	n.interest.init()
	n.log_.init()
	n.claims.init()
	n.cache.init()
	n.asked.init()
	n.inbox.init(n)
	n.finder.init(n)
}

// Use gives the node the parts that it works with. No device is claimed, and nothing published, before.
func (n *Node) Use(p Parts) {
	n.router, n.sessions, n.store, n.commands = p.Router, p.Sessions, p.Store, p.Commands
	if n.commands == nil {
		n.commands = noCommands{}
	}
}

// noCommands are the commands of a node that has none.
type noCommands struct{}

func (noCommands) Restore(string, map[string][]byte) {}
func (noCommands) Forget(string)                     {}
func (noCommands) Keeps(string) bool                 { return false }

// Start takes part in the cluster: the router gets the subscriptions of the other nodes, and this node's inbox is read. It blocks until this node knows what the
// others want.
func (n *Node) Start(ctx context.Context) error {
	if err := n.snapshot(ctx); err != nil {
		return fmt.Errorf("reading what other nodes want: %w", err)
	}
	if n.options.Link != nil {
		n.options.Link.OnLoss(n.onLoss)
	}
	for _, run := range []func(context.Context){n.renewals, n.announcements, n.followLog, n.readInbox, n.trimInbox, n.finder.run, n.adoptions} {
		n.work.Add(1)
		go func() {
			defer n.work.Done()
			run(n.ctx)
		}()
	}
	return nil
}

// onLoss is called when Redis may have lost what it had answered in the last seconds: it was restarted, or a replica has taken its place.
func (n *Node) onLoss() {
	n.log_.lost.Store(true)
	n.inbox.lost.Store(true)
	for _, p := range n.peers.all() {
		p.lost.Store(true)
		p.wakeUp()
	}
}

// Leave says that this life is over: others adopt what it has, at once. The caller has closed the sessions and the store.
func (n *Node) Leave(ctx context.Context) error {
	return leave.Exec(ctx, n.client, n.keys.nodes(), []string{n.config.Node, lifeText(n.life)}).Error()
}

// Close ends the node's part. What waits to be sent is refused.
func (n *Node) Close() {
	n.stop()
	n.work.Wait()
	n.lease.fail(errClosed)
}

var errClosed = errors.New("the node ends")

// Name returns the cluster's name.
func (n *Node) Name() string { return n.config.Name }

// Self returns the node's name.
func (n *Node) Self() string { return n.config.Node }

// OwnerName returns the name of this life of the node, name/life, by which it owns devices.
func (n *Node) OwnerName() string { return n.owner }

// Life returns the life.
func (n *Node) Life() uint64 { return n.life }

// SetAddresses sets where devices reach the node, as URLs, for the next renewal to tell.
func (n *Node) SetAddresses(addresses []string) { n.members.addresses.Store(&addresses) }

// troubleLog writes a line about trouble with Redis at most once per period.
type troubleLog struct {
	mu   sync.Mutex
	last time.Time
}

const troubleEvery = 5 * time.Second

func (n *Node) noteTrouble(what string, err error) {
	if n.ctx.Err() != nil {
		return
	}
	n.trouble.mu.Lock()
	due := time.Since(n.trouble.last) > troubleEvery
	if due {
		n.trouble.last = time.Now()
	}
	n.trouble.mu.Unlock()
	if due {
		n.log.Warn(what, "error", err)
	}
}

// Report is what a node tells the others each time it renews its lease.
type Report struct {
	Left    float64 `json:"left"`    // how much of what it can do is left, 0 to 1
	Devices int     `json:"devices"` // connected ones
	Moving  int     `json:"moving"`  // devices that it has asked to go
	Leaving bool    `json:"leaving"` // it takes no devices
}

// told is a report with what the node adds.
type told struct {
	Report
	Version   string   `json:"version"`
	Addresses []string `json:"addresses,omitempty"`
	Position  uint64   `json:"position,string"` // what it publishes from now on has this Message.At or a higher one
	Full      bool     `json:"full"`            // it can keep no more messages: see peer.full
	Arriving  []string `json:"arriving,omitempty"`
}

// unknownReport is that of a node that has not measured anything yet: its load counts as none, and the balancer lets devices go to a young node slowly.
var unknownReport = Report{Left: 1}
