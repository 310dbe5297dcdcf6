#!/usr/bin/env bash
# static.sh BUILT PLACE: puts the built binary, stripped, at PLACE, and checks that it needs nothing of a system: no
# interpreter, no shared library, and it runs in a root that holds /etc/resolv.conf and /etc/hosts alone.
set -euo pipefail
built=$1 place=$2
mkdir -p "$(dirname "$place")"
strip -o "$place" "$built"

if readelf -lW "$place" | grep -q INTERP; then echo "$place asks for an interpreter" >&2; exit 1; fi
if readelf -dW "$place" | grep -q NEEDED; then echo "$place asks for shared libraries" >&2; exit 1; fi

empty=$(mktemp -d); trap 'rm -rf "$empty"' EXIT
mkdir "$empty/etc"
cp /etc/resolv.conf /etc/hosts "$empty/etc/"
cp "$place" "$empty/penstock"
if [ "$(id -u)" = 0 ]; then version=$(chroot "$empty" /penstock -V)
else version=$(unshare --map-root-user --root="$empty" /penstock -V); fi

bytes=$(stat -c %s "$place")
printf '%s: %s, %d bytes (%d.%d MB), static\n' "$place" "$version" "$bytes" $((bytes / 1000000)) $((bytes / 100000 % 10))
