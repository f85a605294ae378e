# Sourced by the other scripts here. unpack DIR SUITE PACKAGE... unpacks packages of a Debian suite, perhaps another one than this
# system's, from the mirror that this system uses, into DIR. Nothing is installed, so it needs no root.
unpack() {
	local dir=$1 suite=$2 mirror
	shift 2
	command -v apt-get >/dev/null || {
		echo "$0: this system has no apt-get, from which it would take: $*" >&2
		exit 1
	}
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
	mkdir -p "$dir"/apt/{state/lists/partial,cache/archives/partial}
	dir=$(cd "$dir" && pwd)
	: >"$dir/apt/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no] $mirror $suite main" >"$dir/apt/sources.list"
	local options=(
		-qq -o Dir::State="$dir/apt/state" -o Dir::State::status="$dir/apt/status" -o Dir::Cache="$dir/apt/cache"
		-o Dir::Etc::sourcelist="$dir/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
	)
	apt-get "${options[@]}" update
	(cd "$dir/apt" && apt-get "${options[@]}" download "$@")
	for deb in "$dir"/apt/*.deb; do dpkg -x "$deb" "$dir"; done
	rm -r "$dir/apt"
}
