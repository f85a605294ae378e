package registry

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// found is an instance as a registry describes it.
type found struct {
	scheme string
	host   string
	port   int
	weight float64
	meta   metadata
}

// metadata is what an instance says of itself. Registries have texts there; some write numbers without quotes.
type metadata map[string]string

// UnmarshalJSON implements json.Unmarshaler. What is no text, number or boolean is left out.
func (m *metadata) UnmarshalJSON(b []byte) error {
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	*m = make(metadata, len(all))
	for key, value := range all {
		switch value.(type) {
		case string, float64, bool:
			(*m)[key] = fmt.Sprint(value)
		}
	}
	return nil
}

// The metadata that gateways register.
const (
	MetaURL    = "url"    // where devices connect
	metaWeight = "weight" // for registries without weights of their own
)

// instances makes instances of what a registry has. If gateways is true, they are gateways, whose URL is in their metadata: wss:// is written https://, and
// what says no URL is left out.
func instances(all []found, gateways bool) []Instance {
	weights := wholeWeights(all)
	var set []Instance
	for i, f := range all {
		one := newInstance(f.scheme, f.host, strconv.Itoa(f.port), weights[i])
		if gateways {
			rest, ok := strings.CutPrefix(f.meta[MetaURL], "ws")
			if !ok {
				continue
			}
			one.URL = "http" + rest
		}
		set = append(set, one)
	}
	return set
}

// wholeWeights returns the weights as whole numbers of the same proportions: if one has a fraction, all are multiplied by 100.
func wholeWeights(all []found) []int {
	factor := 1.0
	for _, f := range all {
		if f.weight != math.Trunc(f.weight) {
			factor = 100
		}
	}
	weights := make([]int, len(all))
	for i, f := range all {
		weights[i] = int(math.Round(min(max(1, f.weight*factor), maxWeight)))
	}
	return weights
}
