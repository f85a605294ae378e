#!/usr/bin/env bash
# Runs every Fuzz function of the module, one after another, each for FUZZTIME (10s).
set -euo pipefail
cd "$(dirname "$0")/.."

for dir in $(go list -f '{{.Dir}}' ./...); do
	names=$(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null | cut -c6- | sort -u) || continue
	for name in $names; do
		echo "== ${dir#"$PWD"/} $name"
		go test -run='^$' -fuzz="^$name\$" -fuzztime="${FUZZTIME:-10s}" -fuzzminimizetime=1s "$dir"
	done
done
