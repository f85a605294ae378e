package main

import (
	"cmp"
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/service"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// ServiceCmd is longline service.
type ServiceCmd struct {
	Ls ServiceLs `cmd:"" help:"List the services of a running gateway and their instances."`
}

// ServiceLs is longline service ls.
type ServiceLs struct{ client }

// Run prints a table.
func (l *ServiceLs) Run(ctx context.Context, console *Console) error {
	gateway, err := l.gateway()
	if err != nil {
		return err
	}
	list, err := gateway.ListServices(ctx, connect.NewRequest(new(longlinev1.ListServicesRequest)))
	if err != nil {
		return err
	}
	if len(list.Msg.Services) == 0 {
		_, err = fmt.Fprintln(console.Out, "the gateway has no services")
		return err
	}
	w := tabwriter.NewWriter(console.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SERVICE\tINSTANCE\tCALLS\tFAILED\tUNDER WAY\tLATENCY\tSTATE") // Flush returns the error
	for _, s := range list.Msg.Services {
		var calls, failed uint64
		for result, n := range s.Results {
			calls += n
			if result != service.OK && result != service.Refused {
				failed += n
			}
		}
		_, _ = fmt.Fprintf(w, "%s\t\t%d\t%d\t%d\t\t%s\n", s.Name, calls, failed, s.UnderWay, stateOf(s))
		for _, i := range s.Instances {
			latency := ""
			if i.Latency != nil {
				latency = i.Latency.AsDuration().Round(10 * time.Microsecond).String()
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", s.Name, i.Url, i.Calls, i.Failed, i.UnderWay, latency, stateOfInstance(i))
		}
		for _, b := range s.Backends {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t\t%s\n", s.Name, cmp.Or(b.Name, "-"), b.Answered+b.Late, b.Late, b.UnderWay, stateOfBackend(b))
		}
	}
	return w.Flush()
}

func stateOf(s *longlinev1.Service) string {
	switch {
	case s.Serve:
		return "answered through the API"
	case s.Problem != "":
		return s.Problem
	case s.Breaker != "closed":
		return "the circuit breaker is " + s.Breaker
	}
	return ""
}

func stateOfBackend(b *longlinev1.ServingBackend) string {
	state := "serves"
	if b.Last {
		state = "does not answer in time: gets calls last"
	}
	return fmt.Sprintf("%s, up to %d at a time", state, b.Room)
}

func stateOfInstance(i *longlinev1.Instance) string {
	ejected := ""
	if i.EjectedUntil != nil {
		ejected = "left out for " + time.Until(i.EjectedUntil.AsTime()).Round(time.Second).String()
	}
	if i.Unwell {
		return "left out: it fails its probe"
	}
	return cmp.Or(ejected, "called")
}
