#!/usr/bin/env bash
# Installs a build into a prefix of its own, and builds and runs a project that knows only that.
set -euo pipefail

if (($# != 1)); then
  echo "usage: $0 BUILD_DIR" >&2
  exit 2
fi
build_dir=$1
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/outside" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What the build was told, the outside project must be told too.
setting() { sed -n "s/^$1:[^=]*=//p" "$build_dir/CMakeCache.txt"; }

expect() {
  local what=$1 wanted=$2 got=$3
  if [[ $got != "$wanted" ]]; then
    printf '%s printed:\n%s\nwanted:\n%s\n' "$what" "$got" "$wanted"
    exit 1
  fi
}

cmake --install "$build_dir" --prefix "$work/prefix" >/dev/null
sanitizers=$(setting WEIR_SANITIZE)
cmake -S "$source_dir" -B "$work/build" -G "$(setting CMAKE_GENERATOR)" \
  -DCMAKE_CXX_COMPILER="$(setting CMAKE_CXX_COMPILER)" -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_CXX_FLAGS_DEBUG=-O1 -DCMAKE_CXX_FLAGS="${sanitizers:+-fsanitize=$sanitizers}" \
  -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/log" || { cat "$work/log"; exit 1; }
cmake --build "$work/build" >"$work/log" || { cat "$work/log"; exit 1; }

counts=$'be 2\nis 1\nnot 1\nor 1\nquestion 1\nthat 1\nthe 1\nto 2'
for master in 'local[2]' 'local-cluster[2,1]'; do
  expect "core_job on $master" "$counts" "$("$work/build/core_job" "--weir.master=$master")"
done
expect 'core_job with an argument' $'that 1\nthe 1\nto 2' \
  "$("$work/build/core_job" that '--weir.master=local[1]')"
expect plain_job 3 "$("$work/build/plain_job")"
"$work/build/streaming_job_test"

# No broker listens there: an error that says so and an exit code, not a hang.
status=0
message=$(timeout 120 "$work/build/kafka_job" 127.0.0.1:1 2>&1 >/dev/null) || status=$?
expect 'the exit code of kafka_job without a broker' 3 "$status"
if [[ $message != *127.0.0.1:1* ]]; then
  printf 'kafka_job does not name the broker:\n%s\n' "$message"
  exit 1
fi
echo 'the outside project builds and runs'
