package api

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/wire"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

func publish(ctx context.Context, c longlinev1connect.GatewayClient, m *longlinev1.Message) (uint32, error) {
	r, err := c.Publish(ctx, connect.NewRequest(&longlinev1.PublishRequest{Message: m}))
	if err != nil {
		return 0, err
	}
	return r.Msg.Receivers, nil
}

func TestPublishReachesDevices(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		a, b := w.connect(t, "a", new(fakeDevice), "cmd/#"), w.connect(t, "b", new(fakeDevice), "cmd/+")
		w.connect(t, "c", new(fakeDevice), "other")
		n, err := publish(t.Context(), c, &longlinev1.Message{
			Topic:       "cmd/x",
			Payload:     []byte{0xff, 0},
			ContentType: "application/octet-stream",
			Qos:         1,
			Expiry:      durationpb.New(time.Minute),
			Properties:  []*longlinev1.Property{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}},
			Source:      "forged",
		})
		if n != 2 || err != nil {
			t.Fatalf("receivers %d, error %v; want 2", n, err)
		}
		want := &message.Message{
			Topic:       "cmd/x",
			Payload:     []byte{0xff, 0},
			ContentType: "application/octet-stream",
			QoS:         message.AtLeastOnce,
			Properties:  []message.Property{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}},
		}
		for _, d := range []*fakeDevice{a, b} {
			m := <-d.got
			if !m.Equal(want) || m.Source != "" || m.Expiry != m.Time+60_000 {
				t.Errorf("got %+v", m)
			}
		}
	})
}

// A message carries the trace of the backend's request.
func TestPublishInATrace(t *testing.T) {
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	w := newWorld(t, Config{}, router.Config{})
	d := w.connect(t, "a", new(fakeDevice), "t")
	r := connect.NewRequest(&longlinev1.PublishRequest{Message: &longlinev1.Message{Topic: "t"}})
	r.Header().Set("traceparent", trace)
	if _, err := w.client("json").Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if m := <-d.got; m.Trace.String() != trace || m.Origin.Via != message.ViaAPI {
		t.Errorf("got %v, %v", m.Trace, m.Origin)
	}
}

func TestTextIsTyped(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	d := w.connect(t, "a", new(fakeDevice), "t")
	for _, test := range []struct{ text, asked, want string }{
		{`{"v": 1}`, "", message.JSON},
		{`12`, "", message.JSON},
		{`on`, "", plainText},
		{``, "", ""},
		{`{"v": 1}`, "text/x", "text/x"},
	} {
		m := &longlinev1.Message{Topic: "t", Text: &test.text, ContentType: test.asked}
		if _, err := publish(t.Context(), w.client("json"), m); err != nil {
			t.Fatal(err)
		}
		if got := <-d.got; got.ContentType != test.want || string(got.Payload) != test.text {
			t.Errorf("%q as %q: got %q as %q, want type %q", test.text, test.asked, got.Payload, got.ContentType, test.want)
		}
	}
}

func TestBroadcast(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		for _, id := range []string{"a", "b", "c"} {
			w.connect(t, id, new(fakeDevice), "room/"+id)
		}
		gone := w.connect(t, "gone", new(fakeDevice), "room/gone")
		w.leave(gone)
		for _, test := range []struct {
			filter string
			qos    uint32
			want   uint32
		}{{"", 0, 3}, {"", 1, 4}, {"room/b", 1, 1}, {"room/#", 0, 3}, {"elsewhere/#", 1, 0}} {
			r, err := c.Broadcast(t.Context(), connect.NewRequest(&longlinev1.BroadcastRequest{
				Message: &longlinev1.Message{Topic: "news", Qos: test.qos}, Filter: test.filter,
			}))
			if err != nil || r.Msg.Devices != test.want {
				t.Errorf("filter %q, qos %d: %v, %v; want %d", test.filter, test.qos, r, err, test.want)
			}
		}
	})
}

func TestCallReturnsTheAnswer(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		w.connect(t, "a", &fakeDevice{reply: func(p *wire.Packet) *wire.Packet {
			switch p.Method {
			case "echo":
				return &wire.Packet{Payload: p.Payload, ContentType: p.ContentType}
			case "timeout":
				return &wire.Packet{Payload: fmt.Append(nil, p.Timeout.Round(time.Second))}
			}
			return &wire.Packet{Err: wire.Error{Code: "no_method", Reason: "try echo"}}
		}})
		text, empty := `{"v":1}`, ""
		for _, test := range []struct{ ask, want *longlinev1.CallResponse }{ // ask.Error.Code is the method
			{&longlinev1.CallResponse{Payload: []byte("hi"), Error: &longlinev1.Error{Code: "echo"}}, &longlinev1.CallResponse{Payload: []byte("hi")}},
			{&longlinev1.CallResponse{Text: &text, Error: &longlinev1.Error{Code: "echo"}}, &longlinev1.CallResponse{Text: &text, ContentType: message.JSON}},
			{&longlinev1.CallResponse{Text: &empty, Error: &longlinev1.Error{Code: "timeout"}}, &longlinev1.CallResponse{Text: proto.String("10s")}},
			{&longlinev1.CallResponse{Error: &longlinev1.Error{Code: "x"}}, &longlinev1.CallResponse{Error: &longlinev1.Error{Code: "no_method", Reason: "try echo"}}},
		} {
			r, err := c.Call(t.Context(), connect.NewRequest(&longlinev1.CallRequest{
				Device: "a", Method: test.ask.Error.Code, Payload: test.ask.Payload, Text: test.ask.Text,
			}))
			if err != nil || !proto.Equal(r.Msg, test.want) {
				t.Errorf("%v: got %v, %v; want %v", test.ask, r, err, test.want)
			}
		}
	})
}

func TestListDevicesByPage(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		for i := range 8 {
			d := w.connect(t, fmt.Sprintf("m%d", i), new(fakeDevice))
			if i%2 == 1 {
				w.leave(d)
			}
		}
		w.connect(t, "z", new(fakeDevice))
		for _, test := range []struct {
			request *longlinev1.ListDevicesRequest
			want    [][]string
		}{
			{&longlinev1.ListDevicesRequest{PageSize: 2, Prefix: "m", State: longlinev1.State_STATE_ONLINE}, [][]string{{"m0", "m2"}, {"m4", "m6"}}},
			{&longlinev1.ListDevicesRequest{PageSize: 99, State: longlinev1.State_STATE_AWAY}, [][]string{{"m1", "m3", "m5"}, {"m7"}}},
			{&longlinev1.ListDevicesRequest{}, [][]string{{"m0", "m1", "m2"}, {"m3", "m4", "m5"}, {"m6", "m7", "z"}}},
			{&longlinev1.ListDevicesRequest{Prefix: "none"}, [][]string{nil}},
		} {
			if got := pages(t, c, test.request); fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("%v: got %v, want %v", test.request, got, test.want)
			}
		}
	})
}

// A listing has the addresses of devices, and asks the gateway once.
func TestListDevicesShowsPeers(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		w.connect(t, "a", new(fakeDevice))
		w.leave(w.connect(t, "b", new(fakeDevice)))
		w.connect(t, "c", new(fakeDevice))
		before := w.gateway.asked.Load()
		r, err := c.ListDevices(t.Context(), connect.NewRequest(new(longlinev1.ListDevicesRequest)))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range r.Msg.Devices {
			got = append(got, d.Device, d.Address, d.Protocol)
		}
		want := []string{"a", "192.0.2.7:4321", "longline.v1.json", "b", "", "", "c", "192.0.2.7:4321", "longline.v1.json"}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if n := w.gateway.asked.Load() - before; n != 1 {
			t.Errorf("the gateway was asked %d times", n)
		}
	})
}

// pages lists the ids of each page.
func pages(t *testing.T, c longlinev1connect.GatewayClient, r *longlinev1.ListDevicesRequest) (pages [][]string) {
	for {
		response, err := c.ListDevices(t.Context(), connect.NewRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, d := range response.Msg.Devices {
			ids = append(ids, d.Device)
		}
		pages = append(pages, ids)
		if r.PageToken = response.Msg.NextPageToken; r.PageToken == "" {
			return pages
		}
	}
}

func TestGetDevice(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		d := w.connect(t, "a", &fakeDevice{deaf: true}, "cmd")
		if _, err := publish(t.Context(), c, &longlinev1.Message{Topic: "cmd", Payload: []byte("four"), Qos: 1}); err != nil {
			t.Fatal(err)
		}
		<-d.got
		r, err := c.GetDevice(t.Context(), connect.NewRequest(&longlinev1.GetDeviceRequest{Device: "a"}))
		if err != nil {
			t.Fatal(err)
		}
		got := r.Msg.Device
		if got.Session == "" || time.Since(got.Created.AsTime()) > time.Minute || got.Changed.AsTime().Before(got.Created.AsTime()) {
			t.Errorf("session %q, created %v, changed %v", got.Session, got.Created.AsTime(), got.Changed.AsTime())
		}
		got.Session, got.Created, got.Changed = "", nil, nil
		want := &longlinev1.Device{
			Device:        "a",
			Online:        true,
			Expiry:        durationpb.New(time.Hour),
			Subscriptions: []*longlinev1.Subscription{{Filter: "cmd", Qos: 1}},
			Queue:         &longlinev1.Queue{Messages: 1, Bytes: 7, InFlight: 1},
			Traffic:       &longlinev1.Traffic{DownlinkMessages: 1, DownlinkBytes: 4},
			Address:       "192.0.2.7:4321",
			Protocol:      "longline.v1.json",
		}
		if !proto.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

func TestDisconnect(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		disconnect := func(reason string) bool {
			r, err := c.Disconnect(t.Context(), connect.NewRequest(&longlinev1.DisconnectRequest{Device: "a", Reason: reason}))
			if err != nil {
				t.Fatal(err)
			}
			return r.Msg.Disconnected
		}
		d := w.connect(t, "a", new(fakeDevice))
		for asked, told := range map[string]string{"": wire.CloseKicked.Reason, "stolen": "stolen"} {
			if !disconnect(asked) {
				t.Error("told that it was not connected")
			}
			if why := <-d.closed; why.Code != 4005 || why.Reason != told {
				t.Errorf("closed with %d %q, want 4005 %q", why.Code, why.Reason, told)
			}
		}
		w.leave(d)
		if disconnect("") {
			t.Error("told that it was connected")
		}
	})
}

func TestDrain(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		if _, err := c.Drain(t.Context(), connect.NewRequest(new(longlinev1.DrainRequest))); err != nil || !w.gateway.drained.Load() {
			t.Fatalf("error %v, drained %v", err, w.gateway.drained.Load())
		}
		_, err := c.Drain(t.Context(), connect.NewRequest(new(longlinev1.DrainRequest)))
		if connect.CodeOf(err) != connect.CodeInternal {
			t.Errorf("an error of the gateway: got %v", err)
		}
	})
}
