#!/usr/bin/env bash
# Builds the API server of Kubernetes in the directory $1: DIR/kube-apiserver. That takes 15 minutes on two processors.
set -euo pipefail
version=1.36.3
dir=$(cd "$1" && pwd)
mkdir "$dir/src"
cd "$dir/src"
module=$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
# Its module replaces its parts by directories of its repository. They are published as well, as v0 with the same minor version.
{
	sed -e 's/^module.*/module kubernetes/' "$module" | grep -v '=> \./staging'
	for part in $(grep -oE 'k8s.io/[a-z0-9-]+ => \./staging' "$module" | cut -d' ' -f1 | sort -u); do
		echo "replace $part => $part v0.${version#1.}"
	done
	echo "require k8s.io/kubernetes v$version"
} >go.mod
GOFLAGS=-mod=mod CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$version" \
	-o "$dir/kube-apiserver" k8s.io/kubernetes/cmd/kube-apiserver
rm -r "$dir/src"
