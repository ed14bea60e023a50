#!/usr/bin/env bash
# clang-format over all C; shellcheck over all scripts; clang-tidy over our own sources, with the compile commands of
# the build directory $1 (default: build), whichever compiler and sanitizer that was set up with.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
build=${1:-build}
bad=0
[[ -f $build/compile_commands.json ]] || { echo "$build: no compile_commands.json there: meson setup $build"; exit 1; }

git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror || bad=1
git ls-files '*.sh' .ci/run | xargs shellcheck -S warning -e SC1090,SC1091,SC2164,SC2016,SC2034 || bad=1

# A process a core. gcc's own warning options are unknown to clang, and under -Werror an error, after which the
# analyzer would pass over the file without a word.
found=$(git ls-files 'blob/*.c' 'engine/*.c' 'fs/*.c' |
    xargs -P "$(nproc)" -n 4 clang-tidy -p "$build" --quiet \
        --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-error 2>&1)
tidy=$?
echo "$found" | grep -E '(warning|error): ' | sort -u
if ((tidy != 0)); then
    echo "$found" | grep -qE '(warning|error): ' || echo "$found" # it did not run: its own words
    bad=1
fi
exit $bad
