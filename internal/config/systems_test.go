package config

import (
	"strings"
	"testing"
)

// wantErrors parses configurations and compares what is wrong with each; an empty text says that nothing is.
func wantErrors(t *testing.T, all map[string]string) {
	t.Helper()
	for text, want := range all {
		_, err := Parse("f", []byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s\n%v\nwant %s", text, err, want)
		}
	}
}

// A mistake in a source is found where it is.
func TestSourcesErrors(t *testing.T) {
	const (
		kafka = "sources:\n  erp:\n    kafka: {brokers: [\"k:9092\"], topics: [orders]}\n"
		mqtt  = "sources:\n  site:\n    mqtt: {url: \"mqtt://b:1883\", topics: [\"site7/+/cmd -> device/{topic[1]}/cmd\"]}\n"
		to    = "    publish: {topic: \"device/{source}/order\"}\n"
	)
	wantErrors(t, map[string]string{
		kafka + to: "",
		mqtt:       "",
		mqtt + to:  "",
		kafka + "    command: {device: \"{source}\", method: order}\n": "",
		kafka + "    broadcast: {topic: news, filter: all}\n":          "",
		kafka: "sources.erp.publish: want one of publish, broadcast and command",
		kafka + to + "    command: {device: a, method: b}\n":                                 "f:4:14: sources.erp.publish: want one of publish, broadcast and command",
		kafka + "    publish: {topic: \"{sauce}\"}\n":                                        "f:4:22: sources.erp.publish.topic: template \"{sauce}\", character 1: {sauce} is unknown",
		kafka + "    publish: {topic: a, qos: 2}\n":                                          "f:4:30: sources.erp.publish.qos: want 0 or 1, not \"2\"",
		kafka + "    publish: {topic: a, retain: maybe}\n":                                   "f:4:33: sources.erp.publish.retain: want true or false, not \"maybe\"",
		kafka + "    broadcast: {topic: news}\n":                                             "f:4:16: sources.erp.broadcast: want topic and filter",
		kafka + "    command: {device: a}\n":                                                 "f:4:14: sources.erp.command: want device and method",
		kafka + to + "    in_flight: 100001\n":                                               "f:5:16: sources.erp.in_flight: want 1 to 100000",
		kafka + to + "    in_flight_bytes: -1\n":                                             "f:5:22: sources.erp.in_flight_bytes: want",
		kafka + to + "    where: payload.a >\n":                                              "f:5:12: sources.erp.where: character",
		kafka + to + "    where: payload.a + 1\n":                                            "f:5:12: sources.erp.where: want",
		kafka + to + "    format: xlm\n":                                                     "f:5:13: sources.erp.format.name: want one of json, xml, protobuf, avro, cbor, not \"xlm\"",
		kafka + to + "    colour: red\n":                                                     "f:5:5: sources.erp: unknown key \"colour\"",
		kafka + to + "    mqtt: {url: \"mqtt://b\", topics: [a]}\n":                          "f:5:11: sources.erp.mqtt: want one of kafka, mqtt, not several",
		"sources:\n  erp:\n" + to:                                                            "sources.erp.kafka: nothing says where the records come from: want one of kafka, mqtt",
		"sources:\n  a/b:\n    kafka: {brokers: [\"k:1\"], topics: [a]}\n":                   "f:2:3: sources: want a name",
		"sources:\n  erp:\n    kafka: {brokers: [k], topics: [a]}\n" + to:                    "f:3:22: sources.erp.kafka.brokers: want an address such as kafka-1:9092, not \"k\"",
		"sources:\n  erp:\n    kafka: {brokers: [\"k:1\"]}\n" + to:                           "sources.erp.kafka.topics: want 1 to 1000 topics",
		"sources:\n  erp:\n    kafka: {brokers: [\"k:1\"], topics: [a], from: 7}\n" + to:     "f:3:50: sources.erp.kafka.from: want oldest or newest, not \"7\"",
		"sources:\n  erp:\n    kafka: {brokers: [\"k:1\"], topics: [a b]}\n" + to:            "f:3:39: sources.erp.kafka.topics: want up to 249",
		"sources:\n  site:\n    mqtt: {url: \"http://b\", topics: [a]}\n":                    "f:3:17: sources.site.mqtt.url: want mqtt://",
		"sources:\n  site:\n    mqtt: {url: \"mqtt://b\"}\n":                                 "sources.site.mqtt.topics: want at least one filter",
		"sources:\n  site:\n    mqtt: {url: \"mqtt://b\", topics: [\"a/# ->\"]}\n":           "f:3:37: sources.site.mqtt.topics: \"a/# ->\": has no topic behind the arrow",
		"sources:\n  site:\n    mqtt: {url: \"mqtt://b\", topics: [a], unanswered: 10001}\n": "f:3:54: sources.site.mqtt.unanswered: want 1 to 10000",
	})
}

// A mistake in a sink is found where it is.
func TestSinksErrors(t *testing.T) {
	const (
		begin = "store: {path: /x}\nstreams: {s: {filters: [a]}}\n"
		sink  = begin + "sinks:\n  main:\n    stream: s\n"
		file  = sink + "    file: {path: out.jsonl}\n"
	)
	wantErrors(t, map[string]string{
		file: "",
		file + "    where: source == \"a\"\n    set: {a.b: \"{topic[1]}\"}\n    drop: [c]\n    lanes: 3\n": "",
		sink: "sinks.main.file: nothing says where the messages go: want one of file, kafka, mqtt, webhook, postgres, mysql, redis, nats",
		file + "    redis: {addresses: [\"r:6379\"], key: k}\n":                                                             "f:7:12: sinks.main.redis: want one of file, redis, not several",
		begin + "sinks:\n  main:\n    file: {path: o}\n":                                                                    "sinks.main.stream: want the name of one of streams",
		begin + "sinks:\n  main: {stream: t, file: {path: o}}\n":                                                            "f:4:18: sinks.main.stream: streams has no \"t\"",
		file + "    lanes: 257\n":                                                                                           "f:7:12: sinks.main.lanes: want 1 to 256, not 257",
		file + "    batch: {messages: -1}\n":                                                                                "f:7:23: sinks.main.batch.messages: want a whole number, 0 or more, not \"-1\"",
		file + "    from: now\n":                                                                                            "f:7:11: sinks.main.from: want oldest or newest, not \"now\"",
		file + "    where: \"payload.t >\"\n":                                                                               "f:7:12: sinks.main.where: character",
		file + "    set: {a: \"{payload\"}\n":                                                                               "sinks.main.set.a: ",
		file + "    drop: [\"a[0]\"]\n":                                                                                     "f:7:11: sinks.main.drop: \"a[0]\": items of a list cannot be changed",
		sink + "    file: {path: o, compression: zip}\n":                                                                    "f:6:34: sinks.main.file.compression: want gzip or none, not \"zip\"",
		sink + "    kafka: {brokers: [\"k:1\"], topic: \"{x}\"}\n":                                                          "f:6:38: sinks.main.kafka.topic: template \"{x}\", character 1: {x} is unknown",
		sink + "    kafka: {brokers: [\"k:1\"], topic: t, compression: zip}\n":                                              "sinks.main.kafka.compression: want",
		sink + "    mqtt: {url: \"mqtt://a:b@h\", topics: [t/#]}\n":                                                         "f:6:17: sinks.main.mqtt.url: want no user and no password here",
		sink + "    webhook: {url: \"ftp://h\"}\n":                                                                          "f:6:20: sinks.main.webhook.url: want an http or https URL",
		sink + "    webhook: {url: \"http://h\", headers: {content-type: x}}\n":                                             "sinks.main.webhook.headers.content-type: the sink sets this header itself",
		sink + "    postgres: {addresses: [h], database: d, user: u}\n":                                                     "sinks.main.postgres.table: want table or insert, and not both",
		sink + "    mysql: {addresses: [h], database: d, user: u, table: t, insert: \"x\"}\n":                               "sinks.main.mysql.table: want table or insert, and not both",
		sink + "    redis: {addresses: [\"r:6379\"], key: \"\"}\n":                                                          "sinks.main.redis.key: want",
		sink + "    nats: {servers: [\"nats://n\"], subject: \"a.*\"}\n":                                                    "sinks.main.nats.subject: the subject \"a.*\" has a wildcard",
		sink + "    colour: {}\n":                                                                                           "f:6:5: sinks.main: unknown key \"colour\"",
		"store: {path: /x}\nsinks: {main: {stream: dead_letters, file: {path: o}}}\n":                                       "",
		"streams: {dead_letters: {filters: [a]}}\nstore: {path: /x}\nsinks: {b: {stream: dead_letters, file: {path: o}}}\n": "$sink/+/dead",
		begin + "sinks: {a: {stream: s, kafka: {brokers: [\"k:1\"], topic: t, sasl: {mechanism: plain, user: u}}}}\n":       "sinks.a.kafka.sasl.password: want a password",
	})
}
