# shellcheck shell=bash
# Sourced, not run, with the project's root as working directory.

# Prints the project's C++ files: what git tracks or would add; without git, what the folders hold.
sources() {
  { git ls-files -co --exclude-standard -- '*.h' '*.cc' 2>/dev/null ||
    find bench cluster connectors core dstream examples include testing tests tools \
      -name '*.h' -o -name '*.cc' 2>/dev/null; } | while read -r file; do
    if [[ -f $file ]]; then echo "$file"; fi
  done | sort -u
}
