#!/usr/bin/env bash
# Programs that must not compile, and whose first error must tell their author what to do and where.
set -uo pipefail

if (($# < 2)); then
  echo "usage: $0 COMPILER INCLUDE_DIR [COMPILER_OPTION...]" >&2
  exit 2
fi
compiler=$1
include=$2
options=("${@:3}")
programs=$(cd "$(dirname "${BASH_SOURCE[0]}")/compile_fail" && pwd)
most_lines=30
failures=0

complain() {
  printf '%s: %s\n' "$1" "$2"
  failures=$((failures + 1))
}

compile() {
  "$compiler" -std=c++20 -fsyntax-only -fdiagnostics-color=never "-I$include" "${options[@]}" "$1" 2>&1
}

# One program: its line marked "// here" must be named, and its first line holds the advice.
check_refused() {
  local file=$1 name output advice line first lines
  name=$(basename "$file")
  advice=$(sed -n '1s|^// advice: ||p' "$file")
  line=$(grep -n '// here$' "$file" | cut -d: -f1)
  if output=$(compile "$file"); then
    complain "$name" 'compiles'
    return
  fi
  first=$(sed '/error:/q' <<<"$output")  # the first error with the chain that leads to it
  if ! grep -qF "$advice" <<<"$(tail -n 1 <<<"$first")"; then
    complain "$name" "the first error does not say: $advice"
    printf '%s\n' "$output" | head -n 20
  elif ! grep -qE "/$name:$line:.*required from here" <<<"$first"; then
    complain "$name" "the first error does not lead to line $line"
    printf '%s\n' "$first"
  fi
  if (($(grep -c 'error:' <<<"$output") > 1)); then complain "$name" 'there is more than one error'; fi
  lines=$(wc -l <<<"$output")
  if ((lines > most_lines)); then
    complain "$name" "the errors take $lines lines, $most_lines at most are wanted"
    printf '%s\n' "$output" | grep 'error:'
  fi
}

if ! output=$(compile "$programs/good.cc"); then
  complain good.cc 'does not compile'
  printf '%s\n' "$output" | head -n 20
fi
for file in "$programs"/*.cc; do
  if [[ $(basename "$file") != good.cc ]]; then check_refused "$file"; fi
done
if ((failures != 0)); then
  echo "$failures complaints"
  exit 1
fi
echo 'all are refused with advice'
