package api

import (
	"fmt"
	"testing"

	"connectrpc.com/connect"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

func TestLedger(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		d := w.connect(t, "a", &fakeDevice{deaf: true}, "cmd")
		for range 2 {
			if _, err := publish(t.Context(), c, &longlinev1.Message{Topic: "cmd", Payload: []byte("x"), Qos: 1}); err != nil {
				t.Fatal(err)
			}
			<-d.got
		}
		one, err := c.GetDeviceLedger(t.Context(), connect.NewRequest(&longlinev1.GetDeviceLedgerRequest{Device: "a"}))
		if err != nil {
			t.Fatal(err)
		}
		l := one.Msg.Ledger
		if r := l.Received; l.Device != "a" || l.Session == "" || !l.Online || !l.Balanced || r.Taken != 2 || r.Waiting != 2 || r.Difference != 0 {
			t.Errorf("the device: %v", l)
		}
		all, err := c.GetLedger(t.Context(), connect.NewRequest(new(longlinev1.GetLedgerRequest)))
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[string]*longlinev1.KindLedger{}
		for _, k := range all.Msg.Kinds {
			kinds[k.Kind] = k
		}
		if api := kinds["api"].GetPublished(); api.GetTaken() != 2 || api.GetAcknowledged() != 2 || kinds["api"].GetReceived() != nil {
			t.Errorf("the api: %v", kinds["api"])
		}
		if got := kinds["devices"].GetReceived(); got.GetWaiting() != 2 || kinds["ended_sessions"] == nil || kinds["shares"] == nil {
			t.Errorf("%v", kinds)
		}
		if m := all.Msg; m.Received.Waiting != 2 || m.Published.Taken < 2 || !m.Balanced || m.Since == nil || m.Earlier != nil {
			t.Errorf("the node: %v", m)
		}
		for _, device := range []string{"", "nobody"} {
			_, err := c.GetDeviceLedger(t.Context(), connect.NewRequest(&longlinev1.GetDeviceLedgerRequest{Device: device}))
			if code := connect.CodeOf(err); code != map[string]connect.Code{"": connect.CodeInvalidArgument, "nobody": connect.CodeNotFound}[device] {
				t.Errorf("%q: %v", device, err)
			}
		}
	})
}

func TestListDeviceLedgers(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		for i := range 5 {
			w.connect(t, fmt.Sprintf("m%d", i), new(fakeDevice))
		}
		w.connect(t, "z", new(fakeDevice))
		for _, test := range []struct {
			request *longlinev1.ListDeviceLedgersRequest
			want    [][]string
		}{
			{&longlinev1.ListDeviceLedgersRequest{PageSize: 2, Prefix: "m"}, [][]string{{"m0", "m1"}, {"m2", "m3"}, {"m4"}}},
			{&longlinev1.ListDeviceLedgersRequest{PageSize: 99}, [][]string{{"m0", "m1", "m2"}, {"m3", "m4", "z"}, nil}},
			{&longlinev1.ListDeviceLedgersRequest{Unbalanced: true}, [][]string{nil}},
		} {
			var got [][]string
			for {
				r, err := c.ListDeviceLedgers(t.Context(), connect.NewRequest(test.request))
				if err != nil {
					t.Fatal(err)
				}
				var ids []string
				for _, l := range r.Msg.Ledgers {
					ids = append(ids, l.Device)
				}
				got = append(got, ids)
				if test.request.PageToken = r.Msg.NextPageToken; test.request.PageToken == "" {
					break
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("%v: got %v, want %v", test.request, got, test.want)
			}
		}
		_, err := c.ListDeviceLedgers(t.Context(), connect.NewRequest(&longlinev1.ListDeviceLedgersRequest{PageToken: "no/id"}))
		if connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Error(err)
		}
	})
}
