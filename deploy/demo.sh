#!/usr/bin/env bash
# demo.sh PENSTOCK [arguments of penstock demo…]: a PostgreSQL of its own (port, directory) and `penstock demo` against
# it. Ctrl-C ends both and removes what they wrote. PostgreSQL refuses to be root's: root runs it as postgres or nobody.
set -euo pipefail
penstock=$(realpath "$1"); shift
programs=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)

dir=$(mktemp -d "${TMPDIR:-/tmp}/penstock-demo.XXXXXX")
as=()
if [ "$(id -u)" = 0 ]; then
  user=$(id -un postgres 2> /dev/null || echo nobody)
  as=(setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups --)
  chown "$user" "$dir"
fi
server=
finish() {
  trap '' INT TERM
  [ -z "$server" ] || { (cd / && "${as[@]}" "$programs/pg_ctl" -D "$dir/data" -m immediate -w stop > /dev/null 2>&1) || true; }
  rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

# A port that nobody listens on.
port=$((28000 + $$ % 2000))
while (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do port=$((port + 1)); done

echo "demo: PostgreSQL $("$programs/postgres" --version | grep -o '[0-9.]*' | head -1) on 127.0.0.1:$port, in $dir"
cd /
"${as[@]}" "$programs/initdb" -D "$dir/data" -U postgres -E UTF8 --locale=C -A trust --no-sync > "$dir/initdb.log" 2>&1 ||
  { cat "$dir/initdb.log" >&2; exit 1; }
server=yes
# In a session of its own: Ctrl-C is for the pipe first, which lets go of its slot; then we stop the server.
"${as[@]}" setsid "$programs/pg_ctl" -D "$dir/data" -w -t 30 -l "$dir/server.log" start > /dev/null \
  -o "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$dir -c wal_level=logical -c fsync=off" ||
  { tail -20 "$dir/server.log" >&2; exit 1; }
"$programs/psql" -X -q -h "$dir" -p "$port" -U postgres -d postgres -c 'CREATE DATABASE bikes'
cd - > /dev/null

# The pipe takes Ctrl-C itself; we wait for it, then clean up.
trap : INT TERM
"$penstock" demo --postgres "127.0.0.1:$port" --user postgres --database bikes --load-store "$@"
