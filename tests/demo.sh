#!/usr/bin/env bash
# The demo as a newcomer runs it, but short: live counts per batch and over the window, a summary, and no
# process left behind. Options are the demo's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

complain() {
  printf '%s; the demo printed:\n%s\n' "$1" "$output"
  exit 1
}

# Whatever the demo starts inherits the mark.
mark=weir-demo-$$-$RANDOM
left_behind() {
  local environment
  for environment in /proc/[0-9]*/environ; do
    if grep -qsF "WEIR_DEMO_MARK=$mark" "$environment"; then tr '\0' ' ' <"${environment%environ}cmdline"; fi
  done 2>/dev/null
}

output=$(WEIR_DEMO_MARK=$mark scripts/demo --seconds 5 "$@" 2>&1) || complain 'the demo failed'
for kind in batch 'last 10s'; do
  lines=$(grep -cE " $kind +[1-9][0-9]* words" <<<"$output") || true
  ((lines >= 3)) || complain "there are only $lines lines of counts of '$kind'"
done
for line in '^batches +[1-9]' '^records +[1-9]' '^processing time +p50 ' '^scheduling delay +p50 '; do
  grep -qE "$line" <<<"$output" || complain "the summary has no '$line'"
done
left=$(left_behind)
[[ -z $left ]] || complain "processes are left behind: $left"
echo "the demo shows counts and ends${*:+ ($*)}"
