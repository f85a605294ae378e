package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire/ocpp"
)

// Charge makes chargers in turn ask a service, at a fixed rate: a Heartbeat and MeterValues alternately. Meanwhile they answer what
// they are asked, by the payload that they got. The service answers by ChargeAnswer. The latency of a CALL is the time from when it
// was due until it is answered.
func (c *Client) Charge(ctx context.Context, load Load) (Result, error) {
	return c.paced(ctx, load, newCharging)
}

// ChargeAnswer returns the service's answer to a charger's call with a payload: it says whose call it answers.
func ChargeAnswer(device string, payload []byte) ([]byte, error) {
	var asked charge
	if err := json.Unmarshal(payload, &asked); err != nil {
		return nil, err
	}
	return json.Marshal(charge{Of: asked.Of, Device: device})
}

// charge is what the answers to chargers hold, so that each is known to be that of its CALL. So do the calls, as numbers that no charger
// would send.
type charge struct {
	Of     string `json:"of"`
	Device string `json:"device,omitempty"`
}

// charging is the traffic of Charge. A message id is the time from which the latency counts.
type charging struct {
	everyone
	meter string // what a MeterValues has besides
}

func newCharging(l *lane, size int) traffic {
	value := `,"connectorId":1,"transactionId":7,"meterValue":[{"timestamp":"2026-01-01T00:00:00Z","sampledValue":[{"value":"18.25"`
	for len(value) < size {
		value += `},{"value":"18.25","measurand":"Energy.Active.Import.Register"`
	}
	return &charging{everyone{l}, value + "}]}]"}
}

func (t *charging) send(c *conn, since time.Duration) {
	id := strconv.FormatInt(int64(since)+1, 10)
	f := ocpp.Frame{Type: ocpp.Call, ID: id, Action: "Heartbeat", Payload: []byte(`{"of":"` + id + `"}`)}
	if c.sent%2 == 1 {
		f.Action, f.Payload = "MeterValues", []byte(`{"of":"`+id+`"`+t.meter+`}`)
	}
	c.frame(&f)
}

func (t *charging) answer(c *conn, p []byte) (of *conn, since time.Duration, err error) {
	var f ocpp.Frame
	if err := ocpp.V16.Decode(&f, p); err != nil {
		return nil, 0, err
	}
	switch f.Type {
	case ocpp.Call:
		c.frame(&ocpp.Frame{Type: ocpp.CallResult, ID: f.ID, Payload: f.Payload})
		return nil, 0, nil
	case ocpp.CallError:
		return nil, 0, fmt.Errorf("a CALL was refused: %s %s", f.Code, f.Description)
	}
	var answer charge
	if err := json.Unmarshal(f.Payload, &answer); err != nil {
		return nil, 0, err
	}
	if answer != (charge{f.ID, c.id()}) {
		return nil, 0, fmt.Errorf("charger %s got an answer that is not its own: %s", c.id(), p)
	}
	n, err := strconv.ParseInt(f.ID, 10, 64)
	return c, time.Duration(n - 1), err
}

// frame sends a frame.
func (c *conn) frame(f *ocpp.Frame) {
	c.lane.scratch = f.Append(c.lane.scratch[:0])
	c.write(websocket.Text, c.lane.scratch)
}
