#!/usr/bin/env bash
# The demo as a newcomer runs it, but short: live counts, a summary, and no process left behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

running() { pgrep -x -f ".*/(kafka_word_count|line_generator|weir-embedded-kafka)( .*)?" | sort || true; }

complain() {
  printf '%s; the demo printed:\n%s\n' "$1" "$output"
  exit 1
}

before=$(running)
output=$(scripts/demo --seconds 5 "$@" 2>&1) || complain 'the demo failed'
counts=$(grep -cE 'batch +[1-9][0-9]* words' <<<"$output") || true
((counts >= 3)) || complain "only $counts lines of counts"
for line in '^batches +[1-9]' '^records +[1-9]' '^processing time +p50 ' '^scheduling delay +p50 '; do
  grep -qE "$line" <<<"$output" || complain "the summary has no '$line'"
done
after=$(running)
[[ $before == "$after" ]] || complain "processes are left: $after"
echo 'the demo shows counts and ends'
