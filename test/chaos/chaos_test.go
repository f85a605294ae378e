package main

import (
	"reflect"
	"testing"
	"time"
)

func TestPlan(t *testing.T) {
	for _, engine := range []string{single, sharded, sentinel} {
		for seed := range uint64(200) {
			a, b := newPlanner(seed, engine, time.Second), newPlanner(seed, engine, time.Second)
			seen := make(map[kind]bool)
			for range 20 {
				s := a.next()
				if !reflect.DeepEqual(s, b.next()) {
					t.Fatal("two plans of one seed differ")
				}
				for i, f := range s.faults {
					seen[f.kind] = true
					if i > 0 && (f.which == s.faults[0].which || s.faults[0].kind > cutNode || f.kind > cutNode) {
						t.Fatalf("seed %d: %v at the same time", seed, s.faults)
					}
				}
			}
			const each = 8
			if len(seen) != each {
				t.Errorf("seed %d, %s: %v", seed, engine, seen)
			}
			if engine != sentinel && (seen[failOver] || seen[loseOver]) {
				t.Errorf("%s fails over", engine)
			}
		}
	}
}
