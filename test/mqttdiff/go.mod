module github.com/longline/longline/test/mqttdiff

go 1.26.0

replace github.com/longline/longline => ../..

require (
	github.com/longline/longline v0.0.0-00010101000000-000000000000
	github.com/mochi-mqtt/server/v2 v2.7.9
)

require google.golang.org/protobuf v1.36.12 // indirect
