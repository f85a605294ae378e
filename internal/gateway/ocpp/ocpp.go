// Package ocpp is the gateway's side of OCPP-J: chargers over WebSocket. What a charger asks is a call of a service, whose reply is the
// answer; what a backend asks of it, by a call or a command, is a CALL to the charger. Each side has one CALL at a time that is not
// answered (1.6 §4.1.1), the others wait. internal/wire/ocpp knows the frames, and nobody what they say.
package ocpp

import (
	"cmp"
	"fmt"
	"time"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/gateway/ws"
	"github.com/longline/longline/internal/wire/ocpp"
)

// Config has the options of OCPP. Without a service there is none. WithDefaults has the defaults.
type Config struct {
	Service     string        `yaml:"service" help:"name of the service that answers chargers; chargers that speak ocpp1.6, ocpp2.0.1 or ocpp2.1 may connect if there is one"`
	CallTimeout time.Duration `yaml:"call_timeout" help:"how long a charger may take to answer a CALL before the next one is sent to it"`
	Waiting     int           `yaml:"waiting" help:"CALLs that a charger may send ahead of the answer to its first; more are refused"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.CallTimeout = cmp.Or(c.CallTimeout, 30*time.Second)
	c.Waiting = cmp.Or(c.Waiting, 16)
	return c
}

// maxWaiting bounds Config.Waiting, because each CALL is compared with those that wait.
const maxWaiting = 1000

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c Config) Validate() error {
	switch {
	case c.CallTimeout < time.Second:
		return fmt.Errorf("call_timeout: want 1s or more, not %v", c.CallTimeout)
	case c.Waiting < 1 || c.Waiting > maxWaiting:
		return fmt.Errorf("waiting: want 1 to %d, not %d", maxWaiting, c.Waiting)
	}
	return nil
}

// Path is where chargers connect: at Path/{identity}, besides the paths of all devices.
const Path = "/ocpp"

// Dialects returns the subprotocols of chargers; none without a service. d may be nil if only their names matter.
func Dialects(c Config, d *door.Door) (all []ws.Dialect) {
	if c.Service == "" {
		return nil
	}
	for _, v := range ocpp.Versions() {
		all = append(all, &dialect{Config: c, version: v, door: d})
	}
	return all
}

// dialect is a version of OCPP. Static after construction.
type dialect struct {
	Config
	version ocpp.Version
	door    *door.Door
}

// Subprotocol implements ws.Dialect.
func (d *dialect) Subprotocol() string { return d.version.Subprotocol() }

// Talk implements ws.Dialect.
func (d *dialect) Talk(device *ws.Device) ws.Talk { return &charger{dialect: d, device: device} }

// The faults of chargers: none of them ends the connection. They are labels of metrics and of the log.
const (
	notAFrame        = "not_a_frame"       // a message that is no frame, or one of a type that the version does not have
	badAction        = "bad_action"        // a CALL or SEND whose action is no word
	idInUse          = "id_in_use"         // a CALL with the id of another that is not answered
	tooMany          = "too_many_waiting"  // a CALL for which there is no room in the line
	unexpectedAnswer = "unexpected_answer" // an answer to no CALL, or to one of an earlier connection
	lateAnswer       = "late_answer"       // an answer after Config.CallTimeout
	noAnswer         = "no_answer"         // none within Config.CallTimeout
	resultRefused    = "result_refused"    // a CALLRESULTERROR
)

// maxAction bounds the actions that the gateway passes on, in bytes. The specifications have none of more than 40.
const maxAction = 64

// isAction reports whether name may be an action: a word that is a level of a topic and the name of a method as it is.
func isAction(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= maxAction
}
