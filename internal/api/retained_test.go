package api

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// keep retains messages of a device.
func keep(t *testing.T, w *world, device string, topics ...string) {
	t.Helper()
	for _, name := range topics {
		m := &message.Message{Topic: name, Source: device, Payload: []byte("x"), QoS: 1, Retain: true, Time: time.Now().UnixMilli()}
		if _, err := w.router.Publish(m, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// listRetained reads all pages.
func listRetained(t *testing.T, c longlinev1connect.GatewayClient, r *longlinev1.ListRetainedRequest) (all []string) {
	t.Helper()
	for {
		page, err := c.ListRetained(t.Context(), connect.NewRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(page.Msg.Messages); n > int(r.PageSize) {
			t.Errorf("%d on a page of %d", n, r.PageSize)
		}
		for _, m := range page.Msg.Messages {
			if m.Bytes != uint64(len(m.Topic)+1) || m.Qos != 1 || time.Since(m.Ts.AsTime()).Abs() > time.Hour || m.Expires != nil {
				t.Errorf("%v", m)
			}
			all = append(all, m.Topic+" of "+m.Device)
		}
		if r.PageToken = page.Msg.NextPageToken; r.PageToken == "" {
			return all
		}
	}
}

func TestRetained(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		keep(t, w, "evil", "device/evil/1", "device/evil/2", "device/evil/3/x", "all/news")
		keep(t, w, "", "all/tariff", "a")
		list := func(filter, device string, want ...string) {
			t.Helper()
			got := listRetained(t, c, &longlinev1.ListRetainedRequest{Filter: filter, Device: device, PageSize: 2})
			if !slices.Equal(got, want) {
				t.Errorf("%q of %q: %q, want %q", filter, device, got, want)
			}
		}
		remove := func(filter, device string, want uint32) {
			t.Helper()
			r, err := c.DeleteRetained(t.Context(), connect.NewRequest(&longlinev1.DeleteRetainedRequest{Filter: filter, Device: device}))
			if err != nil || r.Msg.Deleted != want {
				t.Errorf("deleted %v, %v; want %d", r, err, want)
			}
		}
		list("", "", "a of ", "all/news of evil", "all/tariff of ", "device/evil/1 of evil", "device/evil/2 of evil", "device/evil/3/x of evil")
		list("all/+", "", "all/news of evil", "all/tariff of ")
		list("all/+", "evil", "all/news of evil")
		remove("device/evil/1", "", 1)
		remove("device/evil/1", "", 0)
		remove("#", "evil", 3)
		list("", "", "a of ", "all/tariff of ")
		remove("#", "", 2)
		list("", "")
	})
}

func TestManyRetained(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	for i := range 2000 {
		keep(t, w, "d", fmt.Sprintf("t/%04d", i))
	}
	all, err := w.router.ListRetained(t.Context(), "#", "t/0999", 5000, func(store.Kept) bool { return true })
	if err != nil || len(all) != 1000 || all[0].Topic != "t/1000" {
		t.Errorf("%d, %v", len(all), err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := w.router.DeleteRetained(gone, "#", func(store.Kept) bool { return true }); n != 0 || err == nil {
		t.Errorf("%d deleted, %v", n, err)
	}
}

func TestRetainedRequests(t *testing.T) {
	eachProtocol(t, func(t *testing.T, _ *world, c longlinev1connect.GatewayClient) {
		for _, r := range []*longlinev1.ListRetainedRequest{{Filter: "a/#/b"}, {Device: "no device"}, {PageToken: "a/#"}} {
			if _, err := c.ListRetained(t.Context(), connect.NewRequest(r)); connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("%v: %v", r, err)
			}
		}
		for _, r := range []*longlinev1.DeleteRetainedRequest{{}, {Filter: "a/#/b"}, {Filter: "#", Device: "no device"}} {
			if _, err := c.DeleteRetained(t.Context(), connect.NewRequest(r)); connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("%v: %v", r, err)
			}
		}
	})
}
