#!/usr/bin/env bash
# What a job of ten operators takes to compile, as a share of the processor time of the headers of the
# standard library and of Boost.Serialization that it reads. Medians, interleaved; processor time, so
# that other work on the machine matters little.
set -euo pipefail

if (($# < 2)); then
  echo "usage: $0 COMPILER INCLUDE_DIR [COMPILER_OPTION...]" >&2
  exit 2
fi
compiler=$1
include=$2
options=(-std=c++20 "-I$include" "${@:3}")
job=$(cd "$(dirname "${BASH_SOURCE[0]}")/compile_time" && pwd)/job.cc
wanted_percent=250
most_percent=650   # what it is held to so that it does not grow, as long as it is above what is wanted
repetitions=3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Every header of the two libraries that the job reads, by the names under which they are included.
"$compiler" "${options[@]}" -M "$job" | tr -s ' \\' '\n' | sort -u |
  sed -nE 's#^/usr/include/c\+\+/[0-9]+/([a-z_]+)$#\#include <\1>#p
           s#^/usr/include/(boost/(serialization|archive)/[a-z_]+\.hpp)$#\#include <\1>#p' >"$work/headers.cc"
echo 'int main() {}' >>"$work/headers.cc"

milliseconds() { # of processor time
  local TIMEFORMAT='%U %S' spent
  spent=$({ time "$compiler" "${options[@]}" -c "$1" -o "$work/object" >"$work/log" 2>&1; } 2>&1) || {
    cat "$work/log" >&2
    exit 1
  }
  awk '{ printf "%d\n", ($1 + $2) * 1000 }' <<<"$spent"
}
median() { sort -n | sed -n "$(((repetitions + 1) / 2))p"; }

for ((i = 0; i < repetitions; ++i)); do
  milliseconds "$job" >>"$work/job"
  milliseconds "$work/headers.cc" >>"$work/plain"
done
ours=$(median <"$work/job")
plain=$(median <"$work/plain")
percent=$((ours * 100 / plain))
echo "the job: $ours ms, its libraries' headers alone: $plain ms: $percent % (wanted: $wanted_percent, at most $most_percent)"
((percent <= most_percent))
