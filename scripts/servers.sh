#!/usr/bin/env bash
# Installs servers that tests use, unless they are there: each by its recipe, scripts/servers/NAME.sh, in out/servers/NAME. Prints
# these directories. A recipe that has changed installs again.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p out/servers
for name in "$@"; do
	dir=$PWD/out/servers/$name recipe=scripts/servers/$name.sh
	(
		flock 9
		if ! cmp -s "$recipe" "$dir/.recipe"; then
			rm -rf "$dir"
			mkdir -p "$dir"
			"$recipe" "$dir" >&2
			cp "$recipe" "$dir/.recipe"
		fi
	) 9>"$dir.lock"
	echo "$dir"
done
