# Sourced by the other scripts here. Packages of a Debian suite, perhaps another one than this system's, are unpacked from the mirror
# that this system uses. Nothing is installed, so it needs no root.

# unpack DIR SUITE PACKAGE... unpacks packages into DIR.
unpack() {
	lists "$1" "$2"
	(cd "$1/apt" && apt-get -c conf download "${@:3}")
	extract "$1" "$1"/apt/*.deb
}

# unpack_all DIR SUITE PACKAGE... also unpacks all packages that these depend on, down to the C library.
unpack_all() {
	lists "$1" "$2"
	apt-get -c "$1/apt/conf" install --download-only --yes "${@:3}" >&2
	extract "$1" "$1"/apt/cache/archives/*.deb
}

# lists DIR SUITE reads the lists of packages, for a system that has none.
lists() {
	local dir mirror
	command -v apt-get >/dev/null || {
		echo "$0: this system has no apt-get, from which it would take its packages" >&2
		exit 1
	}
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
	mkdir -p "$1"/apt/{state/lists/partial,cache/archives/partial}
	dir=$(cd "$1" && pwd)
	: >"$dir/apt/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no] $mirror $2 main" >"$dir/apt/sources.list"
	cat >"$dir/apt/conf" <<-X
		quiet "2";
		Dir::State "$dir/apt/state";
		Dir::State::status "$dir/apt/status";
		Dir::Cache "$dir/apt/cache";
		Dir::Etc::sourcelist "$dir/apt/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		APT::Sandbox::User "";
		APT::Install-Recommends "false";
		Acquire::Languages "none";
		Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
	X
	apt-get -c "$dir/apt/conf" update
}

# extract DIR FILE... unpacks files of packages.
extract() {
	local deb
	for deb in "${@:2}"; do dpkg -x "$deb" "$1"; done
	rm -r "$1/apt"
}
