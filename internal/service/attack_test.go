package service

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"unsafe"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/topic"
)

// A call never comes without the device that makes it, however long its id is.
func TestLongestDevice(t *testing.T) {
	device, err := topic.DeviceID(strings.Repeat("|", 128))
	if err != nil {
		t.Fatal(err)
	}
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Longline-Device")) })
	s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: urls(b)}}})
	if got := s.ask(t, "billing", &Call{Device: device, Method: "authorize"}); string(got.Payload) != device {
		t.Errorf("the instance hears of device %q, want %q: %+v", got.Payload, device, got.Err)
	}
}

// A reason does not keep the large answer in memory that it was cut from.
func TestReasonIsACopy(t *testing.T) {
	answer := strings.Repeat("a", 1<<20)
	if r := CutReason(answer); unsafe.StringData(r) == unsafe.StringData(answer) {
		t.Error("the reason is a part of the answer")
	}
}
