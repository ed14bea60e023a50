#!/usr/bin/env bash
# clang-format over all C; clang-tidy with the compile commands of the build directory $1; shellcheck over all scripts.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
build=${1:-build}
bad=0
git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror || bad=1
git ls-files '*.sh' .ci/run | xargs shellcheck -S warning -e SC1090,SC1091,SC2164,SC2016,SC2034 || bad=1
# Our own sources only, a process a core.
git ls-files 'blob/*.c' 'engine/*.c' 'fs/*.c' | xargs -P "$(nproc)" -n 4 clang-tidy -p "$build" --quiet 2>/dev/null |
    grep -E 'warning:|error:' | sort -u && bad=1
exit $bad
