package cluster

import (
	"strconv"
	"strings"
)

// keys are the names of what the nodes of a cluster share in Redis. What one script touches has one hash tag.
type keys struct{ prefix string }

// Prefix returns the beginning of all keys of the cluster.
func (c *Config) Prefix() string { return "ll:" + c.Name + ":" }

// nodes returns the keys of the membership: hashes by the name of the node, and by the owner for those that died; and the owners that were adopted, with the times
// of that.
func (k keys) nodes() []string {
	at := k.prefix + "{nodes}:"
	return []string{at + "life", at + "renewed", at + "report", at + "dead", at + "adopter", at + "gone"}
}

// interest returns the keys of who wants what: the log, the hash of all that is announced, the last position, the owners that are gone for good, and
// how many bytes were ever written to the log.
func (k keys) interest() []string {
	at := k.prefix + "{interest}:"
	return []string{at + "log", at + "all", at + "at", at + "gone", at + "bytes"}
}

// inbox returns the key of the stream with what other nodes have sent to an owner.
func (k keys) inbox(owner string) string { return k.prefix + "{node " + owner + "}:in" }

// devices returns the key of the set with the devices that a node may have: store/redis adds those that it claims.
func (k keys) devices(node string) string { return k.prefix + "{node " + node + "}:d" }

// owner returns the name of a life of a node.
func owner(node string, life uint64) string { return node + "/" + strconv.FormatUint(life, 10) }

// validOwner reports whether o is a name that owner returns.
func validOwner(o string) bool {
	node, life, ok := strings.Cut(o, "/")
	return ok && validName.MatchString(node) && parse(life) != 0 && lifeText(parse(life)) == life
}

// nodeOf returns the node of an owner.
func nodeOf(owner string) string {
	node, _, _ := strings.Cut(owner, "/")
	return node
}

// lifeOf returns the life of an owner.
func lifeOf(owner string) uint64 {
	_, life, _ := strings.Cut(owner, "/")
	n, _ := strconv.ParseUint(life, 10, 64) // one that is none is life 0, which nobody has
	return n
}
