package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/longline/longline/internal/fleet"
	"github.com/longline/longline/internal/message"
)

// Fleet is longline fleet.
type Fleet struct {
	Run    FleetRun    `cmd:"" default:"withargs" help:"Connect synthetic devices that publish at a rate, until interrupted."`
	Replay FleetReplay `cmd:"" help:"Replay a recording: each id becomes a device, each row a QoS 1 publication on device/{id}/telemetry, or a frame."`
}

// fleetFlags are the flags of every fleet.
type fleetFlags struct {
	Gateway            string        `default:"ws://127.0.0.1:8080/connect" placeholder:"URL" help:"Where devices connect. {device} stands for the device id; without it ?device=ID is added (${default})."`
	CA                 string        `name:"ca" placeholder:"FILE" type:"path" help:"PEM file of the authorities that may have issued the certificate of a wss:// gateway, instead of the system's."`
	InsecureSkipVerify bool          `help:"Accept any certificate of a wss:// gateway."`
	Protocol           string        `default:"json" help:"Encoding: json or protobuf; with --frame-column the subprotocol of the frames, such as ocpp1.6 (${default})."`
	Token              string        `env:"LONGLINE_TOKEN" help:"Bearer token of every device."`
	Source             string        `placeholder:"ADDRESSES" help:"Addresses to connect from: an IPv4 address, a prefix, or a number of loopback addresses."`
	Subscribe          []string      `placeholder:"FILTER" help:"Subscribe each device to this filter, in which {device} stands for the device id. May be repeated."`
	Loops              int           `default:"0" help:"Event loops; 0 means one per processor."`
	ConnectRate        int           `default:"5000" help:"Connections begun per second (${default})."`
	MaxDials           int           `default:"512" help:"Connections under way at a time (${default})."`
	ConnectTimeout     time.Duration `default:"30s" help:"Longest time from dial to hello (${default})."`
	RetryMin           time.Duration `default:"2s" help:"First wait before connecting again (${default})."`
	RetryMax           time.Duration `default:"30s" help:"Longest wait before connecting again (${default})."`
	Retries            int           `default:"10" help:"Failed tries in a row after which a device gives up; -1 means never (${default})."`
	Window             int           `default:"16" help:"Unanswered publications per device (${default})."`
	JSON               bool          `name:"json" help:"Print the report as JSON."`
	Quiet              bool          `short:"q" help:"Show no progress."`
}

func (f *fleetFlags) config() fleet.Config {
	return fleet.Config{
		Gateway:            f.Gateway,
		CA:                 f.CA,
		InsecureSkipVerify: f.InsecureSkipVerify,
		Protocol:           f.Protocol,
		Token:              f.Token,
		Source:             f.Source,
		Subscribe:          f.Subscribe,
		Loops:              f.Loops,
		ConnectRate:        f.ConnectRate,
		MaxDials:           f.MaxDials,
		ConnectTimeout:     f.ConnectTimeout,
		Reconnect:          fleet.Backoff{Min: f.RetryMin, Max: f.RetryMax, MaxTries: f.Retries},
		Window:             f.Window,
	}
}

// run runs the fleet and prints its report, also if it was interrupted.
func (f *fleetFlags) run(ctx context.Context, c *Console, config fleet.Config) error {
	progress := c.Err
	if f.Quiet {
		progress = nil
	}
	report, err := fleet.Run(ctx, config, progress)
	if report.Devices > 0 {
		if printErr := f.print(c, &report); printErr != nil {
			return printErr
		}
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return &exitError{exitIncomplete, fmt.Errorf("interrupted: %w", err)}
	case err != nil:
		return err
	case !report.Complete():
		return &exitError{code: exitIncomplete}
	}
	return nil
}

func (f *fleetFlags) print(c *Console, report *fleet.Report) error {
	if !f.JSON {
		return report.WriteText(c.Out)
	}
	e := json.NewEncoder(c.Out)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

// FleetRun is longline fleet run.
type FleetRun struct {
	fleetFlags
	Devices  int           `default:"1" help:"Number of devices (${default})."`
	Prefix   string        `default:"fleet-" help:"Beginning of the device ids, before a number (${default})."`
	Rate     float64       `default:"0" help:"Messages per second, of all devices together."`
	Payload  int           `default:"128" placeholder:"BYTES" help:"Bytes per message (${default})."`
	QoS      uint8         `name:"qos" default:"1" help:"QoS of the messages, 0 or 1 (${default})."`
	Duration time.Duration `default:"0s" help:"How long to send, after the devices are connected; 0 means until interrupted."`
}

// Run runs the load until its duration or ctx ends.
func (r *FleetRun) Run(ctx context.Context, c *Console) error {
	config := r.config()
	config.Synthetic = fleet.Synthetic{
		Devices:  r.Devices,
		Prefix:   r.Prefix,
		Rate:     r.Rate,
		Payload:  r.Payload,
		QoS:      message.QoS(r.QoS),
		Duration: r.Duration,
	}
	return r.run(ctx, c, config)
}

// FleetReplay is longline fleet replay.
type FleetReplay struct {
	fleetFlags
	Files        []string `arg:"" name:"file" type:"path" help:"Recordings, which are merged by time: CSV with a line of column names, or one JSON object per line. They may be gzipped; - is standard input."`
	IDColumn     string   `xor:"device" placeholder:"NAME" help:"Column with the device id."`
	ID           string   `xor:"device" placeholder:"ID" help:"Id of the one device that all rows belong to, instead of a column."`
	IDFromFile   bool     `xor:"device" help:"Take the file's name as the device id, instead of a column."`
	DateColumn   string   `placeholder:"NAME" help:"Column with the date, if the time column has none."`
	FrameColumn  string   `placeholder:"NAME" help:"Column with frames of the subprotocol --protocol, such as OCPP's. They are sent unchanged, instead of the rows."`
	Comment      string   `placeholder:"CHARACTER" help:"Skip lines that begin with this character."`
	TimeColumn   string   `required:"" placeholder:"NAME" help:"Column with the time."`
	TimeFormat   string   `placeholder:"FORMAT" help:"rfc3339, datetime, unix, unix-ms, unix-us, or a layout such as '02.01.2006 15:04' (taken from the first row)."`
	Delimiter    string   `placeholder:"CHARACTER" help:"Character between values, or the word tab (taken from the first line)."`
	DecimalComma bool     `help:"Read 12,5 as the number 12.5."`
	Speed        speed    `default:"1" placeholder:"TIMES" help:"Multiple of real time; max sends as fast as rows are acknowledged (${default})."`
	LookAhead    int      `default:"4096" help:"Most rows that are read ahead and not yet acknowledged (${default})."`
}

// Run replays the recording.
func (r *FleetReplay) Run(ctx context.Context, c *Console) error {
	config := r.config()
	config.Replay = fleet.Replay{
		Files:        r.Files,
		In:           c.In,
		IDColumn:     r.IDColumn,
		ID:           r.ID,
		FileIsID:     r.IDFromFile,
		DateColumn:   r.DateColumn,
		FrameColumn:  r.FrameColumn,
		Comment:      r.Comment,
		TimeColumn:   r.TimeColumn,
		TimeFormat:   r.TimeFormat,
		Delimiter:    r.Delimiter,
		DecimalComma: r.DecimalComma,
		Speed:        float64(r.Speed),
		LookAhead:    r.LookAhead,
	}
	return r.run(ctx, c, config)
}

// speed is a number, or max, which is 0.
type speed float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *speed) UnmarshalText(text []byte) error {
	if string(text) == "max" {
		*s = 0
		return nil
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return fmt.Errorf("%q: want a number, or max", text)
	}
	*s = speed(v)
	return nil
}
