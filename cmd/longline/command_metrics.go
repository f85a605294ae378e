package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/longline/longline/internal/command"
)

// commandMetrics reads the counters of commands once per scrape.
type commandMetrics struct{ commands *command.Manager }

var (
	commandsKept       = prometheus.NewDesc("longline_commands_kept", "Commands that are kept, by state.", []string{"state"}, nil)
	commandsBytes      = prometheus.NewDesc("longline_commands_bytes", "Bytes of open commands, as commands.max_bytes counts them.", nil, nil)
	commandsEndedBytes = prometheus.NewDesc("longline_commands_ended_bytes", "Bytes of ended commands and their answers, as commands.max_ended_bytes counts them.", nil, nil)
	commandsForgotten  = prometheus.NewDesc("longline_commands_forgotten_total", "Ended commands that were forgotten before commands.keep was over, because there were too many.", nil, nil)
	commandsCreated    = prometheus.NewDesc("longline_commands_created_total", "Commands that were created.", nil, nil)
	commandsRefused    = prometheus.NewDesc("longline_commands_refused_total", "Requests that made no command: a bound, a key that is in use, or the store.", nil, nil)
	commandsSent       = prometheus.NewDesc("longline_commands_sent_total", "Calls of commands that were written to connections, also repeated ones.", nil, nil)
	commandsEnded      = prometheus.NewDesc("longline_commands_ended_total", "Commands that ended, by state.", []string{"state"}, nil)
	commandsLate       = prometheus.NewDesc("longline_commands_late_answers_total", "Answers that came after the end of their command, and are recorded beside it.", nil, nil)
	commandsIgnored    = prometheus.NewDesc("longline_commands_ignored_answers_total", "Answers that changed nothing: repeated ones, and those to commands that were never sent.", nil, nil)
	commandsOmitted    = prometheus.NewDesc("longline_commands_omitted_payloads_total", "Payloads of answers that were too large to be kept.", nil, nil)
	commandsLost       = prometheus.NewDesc("longline_commands_lost_total", "Values of commands in the store that could not be read at the start.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c commandMetrics) Describe(all chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, all) }

// Collect implements prometheus.Collector.
func (c commandMetrics) Collect(metrics chan<- prometheus.Metric) {
	s := c.commands.Stats()
	gauge := func(desc *prometheus.Desc, v int, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(v), labels...)
	}
	count := func(desc *prometheus.Desc, v uint64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
	}
	command.EachState(func(state command.State) {
		gauge(commandsKept, s.States[state], state.String())
		if state.Ended() {
			count(commandsEnded, s.Ended[state], state.String())
		}
	})
	gauge(commandsBytes, s.Bytes)
	gauge(commandsEndedBytes, s.Kept)
	count(commandsForgotten, s.Forgotten)
	count(commandsCreated, s.Created)
	count(commandsRefused, s.Refused)
	count(commandsSent, s.Sent)
	count(commandsLate, s.Late)
	count(commandsIgnored, s.Ignored)
	count(commandsOmitted, s.Omitted)
	count(commandsLost, s.Lost)
}
