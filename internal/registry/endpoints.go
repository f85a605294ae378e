package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// endpoints is what is known of a service's EndpointSlices.
type endpoints struct {
	port    string // which of the slices' ports counts: a name, a number, or none if there is one
	version string // of the collection, for a watch
	slices  map[string]slice
	size    int // of all slices
}

// slice is what counts of one EndpointSlice.
type slice struct {
	family      string // IPv4, IPv6 or FQDN
	ready       []string
	terminating []string // not ready, but still serving
	port        int
	problem     error // why the port is not known
}

// maxEndpoints bounds what is kept of a service: slices and endpoints.
const maxEndpoints = 10 * maxInstances

// endpointSlice is an EndpointSlice of discovery.k8s.io/v1, as far as it is needed.
type endpointSlice struct {
	Metadata    objectMeta     `json:"metadata"`
	AddressType string         `json:"addressType"`
	Endpoints   few[endpoint]  `json:"endpoints"`
	Ports       few[slicePort] `json:"ports"`
}

type objectMeta struct {
	Name            string `json:"name"`
	ResourceVersion string `json:"resourceVersion"`
}

type endpoint struct {
	Addresses  few[string] `json:"addresses"` // all are those of one pod: the first counts
	Conditions struct {
		Ready       *bool `json:"ready"` // not said means that it is
		Serving     *bool `json:"serving"`
		Terminating *bool `json:"terminating"`
	} `json:"conditions"`
}

type slicePort struct {
	Name     string `json:"name"`
	Port     int    `json:"port"`
	Protocol string `json:"protocol"` // not said means TCP
}

// parseSlices reads the answer to a list.
func parseSlices(body []byte, port string) (*endpoints, error) {
	var list struct {
		Kind     string             `json:"kind"`
		Metadata objectMeta         `json:"metadata"`
		Items    few[endpointSlice] `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("the answer is not that of a Kubernetes API server: %w", err)
	}
	if list.Kind != "EndpointSliceList" || list.Metadata.ResourceVersion == "" {
		return nil, errors.New("the answer is no list of EndpointSlices")
	}
	e := &endpoints{port: port, version: list.Metadata.ResourceVersion, slices: make(map[string]slice)}
	for i := range list.Items {
		e.put(list.Items[i].Metadata.Name, e.read(&list.Items[i]))
	}
	return e, e.bounded()
}

// watchEvent is an event of a watch.
type watchEvent struct {
	Type   string `json:"type"`
	Object struct {
		endpointSlice
		Code    int    `json:"code"` // these of a Status, with ERROR
		Message string `json:"message"`
	} `json:"object"`
}

// apply applies an event and reports whether it has changed anything that counts.
func (e *endpoints) apply(event *watchEvent) (changed bool, err error) {
	o := &event.Object
	switch {
	case event.Type == "ERROR" && o.Code == http.StatusGone:
		return false, errGone
	case event.Type == "ERROR":
		return false, &statusError{o.Code, o.Message[:min(len(o.Message), maxComplain)]}
	case o.Metadata.ResourceVersion == "":
		return false, errors.New("the API server has sent an event without a version")
	}
	old, had := e.slices[o.Metadata.Name]
	switch event.Type {
	case "ADDED", "MODIFIED":
		now := e.read(&o.endpointSlice)
		e.put(o.Metadata.Name, now)
		changed = !had || !reflect.DeepEqual(now, old)
	case "DELETED":
		e.remove(o.Metadata.Name)
		changed = had
	case "BOOKMARK":
	default:
		return false, fmt.Errorf("the API server has sent an event of the type %.20q", event.Type)
	}
	e.version = o.Metadata.ResourceVersion
	return changed, e.bounded()
}

// read returns what counts of an EndpointSlice.
func (e *endpoints) read(from *endpointSlice) slice {
	s := slice{family: from.AddressType}
	s.port, s.problem = choosePort(from.Ports, e.port)
	for _, p := range from.Endpoints {
		is := func(condition *bool, otherwise bool) bool {
			if condition == nil {
				return otherwise
			}
			return *condition
		}
		c := p.Conditions
		ready := is(c.Ready, true)
		switch {
		case len(p.Addresses) == 0:
		case ready:
			s.ready = append(s.ready, p.Addresses[0])
		case is(c.Serving, ready) && is(c.Terminating, false):
			s.terminating = append(s.terminating, p.Addresses[0])
		}
	}
	return s
}

// choosePort returns the port of a slice that wanted names.
func choosePort(ports []slicePort, wanted string) (int, error) {
	var names []string
	var found []int
	for _, p := range ports {
		if p.Protocol != "" && p.Protocol != "TCP" {
			continue
		}
		number := strconv.Itoa(p.Port)
		names = append(names, strings.TrimPrefix(p.Name+" ("+number+")", " "))
		if wanted == "" || wanted == p.Name || wanted == number {
			found = append(found, p.Port)
		}
	}
	switch {
	case len(found) == 0:
		return 0, fmt.Errorf("the pods have no TCP port %q, but %q", wanted, strings.Join(names, ", "))
	case len(found) > 1 && wanted == "":
		return 0, fmt.Errorf("the pods have several ports, so the option port must name one of %q", strings.Join(names, ", "))
	}
	return found[0], nil
}

func (e *endpoints) put(name string, s slice) {
	e.remove(name)
	e.slices[name] = s
	e.size += s.size()
}

func (e *endpoints) remove(name string) {
	if old, ok := e.slices[name]; ok {
		delete(e.slices, name)
		e.size -= old.size()
	}
}

func (s *slice) size() int { return 1 + len(s.ready) + len(s.terminating) }

// bounded returns an error if too much is known.
func (e *endpoints) bounded() error {
	if e.size > maxEndpoints {
		return fmt.Errorf("the service has more than %d EndpointSlices and endpoints", maxEndpoints)
	}
	return nil
}

// instances returns the pods that are ready or, if none is, those that end but still serve. A pod of two families is in slices of both; its
// first address counts. Pods without the port are left out; if all are, that is the error.
func (e *endpoints) instances(scheme string) ([]Instance, error) {
	for _, which := range []func(slice) []string{
		func(s slice) []string { return s.ready },
		func(s slice) []string { return s.terminating },
	} {
		for _, family := range []string{"IPv4", "IPv6", "FQDN"} {
			var all []Instance
			var problem error
			for _, s := range e.slices {
				hosts := which(s)
				switch {
				case s.family != family || len(hosts) == 0:
				case s.problem != nil:
					problem = s.problem
				default:
					for _, host := range hosts {
						all = append(all, newInstance(scheme, host, strconv.Itoa(s.port), 1))
					}
				}
			}
			if len(all) > 0 {
				return all, nil
			}
			if problem != nil {
				return nil, problem
			}
		}
	}
	return nil, nil
}
