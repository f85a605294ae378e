//go:build servers && long

// Package models asks a real model in a real server.
package models

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/model"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What a model says is in the messages: the readings of machines that are well are less unusual than those of one that is not. The server is killed meanwhile
// and comes back: all messages go on, those without an answer say so.
func TestAnomaly(t *testing.T) {
	server := servers.Models(t)
	c := setting.Named[model.Config]{"anomaly": {
		Instances: []string{server.URL("")}, Timeout: 10 * time.Second, OpenFor: time.Second,
		Inputs: setting.Named[model.Input]{"readings": {Fields: []string{"payload.temperature", "payload.vibration"}}},
		Output: model.Output{Set: "score", Tensors: []string{"score"}},
	}}.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	set, err := model.OpenSet(c, model.Options{Router: router.New(router.Config{}, store.NewMemory(store.Options{})), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	m, err := set.ForSinks("anomaly")
	if err != nil {
		t.Fatal(err)
	}
	step := m.NewStep()
	defer step.Close()
	// ask asks about machines, of which every tenth is not well, and returns how many answers there are, and the results of the others.
	ask := func() (answers int, others map[string]int) {
		t.Helper()
		const machines = 100
		others = make(map[string]int)
		views := make([]*route.View, machines)
		for n := range views {
			temperature, vibration := 60+5*rand.NormFloat64(), 0.3
			if n%10 == 0 {
				temperature, vibration = 95, 0.9
			}
			views[n] = new(route.View)
			views[n].Reset((&message.Message{
				Topic: "device/m/telemetry", Source: fmt.Sprint("m-", n), ContentType: message.JSON,
				Payload: fmt.Appendf(nil, `{"temperature":%.1f,"vibration":%v}`, temperature, vibration),
			}).Clone())
		}
		if err := step.Infer(t.Context(), views); err != nil {
			t.Fatal(err)
		}
		sick, well := 1.0, 0.0 // the least unusual of those who are not well, the most unusual of the others
		for n, v := range views {
			result := v.Added()[0].Value
			payload, _, err := v.Encoded()
			if err != nil {
				t.Fatal(err)
			}
			_, text, answered := strings.Cut(string(payload), `"score":`)
			if answered != (result == "ok") {
				t.Fatalf("%s: %s", result, payload)
			}
			if !answered {
				others[result]++
				continue
			}
			answers++
			var score float64
			if _, err := fmt.Sscanf(text, "%g}", &score); err != nil {
				t.Fatal(text)
			}
			if n%10 == 0 {
				sick = min(sick, score)
			} else {
				well = max(well, score)
			}
		}
		if answers == machines && sick <= well {
			t.Errorf("a machine that is not well has %v, one that is has %v", sick, well)
		}
		return answers, others
	}
	all := func(want bool, what string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; {
			answers, others := ask()
			if want && answers == 100 || !want && others["unavailable"] == 100 {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %d answers, %v", what, answers, others)
			}
		}
	}
	all(true, "at first")
	server.Kill()
	all(false, "killed")
	server.Restart()
	all(true, "again")
	if i := set.All()[0].Info(); i.Messages["unfit"] > 0 || i.Calls["refused"] > 0 {
		t.Errorf("%+v", i)
	}
}
