#!/usr/bin/env bash
# Runs shell suites. Usage: harness.sh FILE... ; each FILE defines test_<name> functions and, if it likes, file_setup and
# file_teardown. A test is a function run in a shell of its own under `set -euo pipefail`; it passes when that ends
# with 0, and is skipped when it calls `skip REASON`. Prints a line a test and, last, "N passed, N failed, N skipped".
# Environment: BUILD (the build directory), ONLY (a pattern of test names), TEST_TIMEOUT_S (of one test),
# VERBOSE (what tests that pass print).
set -uo pipefail

here=$(dirname "$(realpath "$0")")
export BUILD=${BUILD:-$(realpath "$here/../../build")}
export TESTS=${here%/lib}
: "${TEST_TIMEOUT_S:=120}"

if [[ ${1-} == --one ]]; then # FILE TEST: what the loop below runs for each test
    set -eE
    trap 'echo "  line $LINENO of ${BASH_SOURCE[0]##*/}: $BASH_COMMAND" >&2' ERR
    skip() {
        echo "skip: $*" >&3
        exit 77
    }
    . "$here/rack.sh"
    . "$2"
    "$3"
    exit 0
fi

passed=0 failed=0 skipped=0
log=$(mktemp) why=$(mktemp)
trap 'rm -f "$log" "$why"' EXIT

for file in "$@"; do
    suite=${file##*/}
    suite=$(basename "$(dirname "$(realpath "$file")")")/${suite%.sh}
    export RACK_STATE
    RACK_STATE=$(mktemp -d "${TMPDIR:-/tmp}/bladefs-test.XXXXXX")
    names=$(bash -c ". '$here/rack.sh'; . '$file'; declare -F" | awk '$3 ~ /^test_/ {print $3}')
    if grep -q '^file_setup()' "$file" && ! bash "$0" --one "$file" file_setup >"$log" 2>&1 3>"$why"; then
        if [[ -s $why ]]; then
            for name in $names; do
                echo "skip $suite ${name#test_}: $(cut -d' ' -f2- "$why")"
                ((skipped++))
            done
        else
            echo "FAIL $suite: its set-up failed"
            sed 's/^/    /' "$log" | tail -n 60
            ((failed++))
        fi
        names=
    fi
    for name in $names; do
        # shellcheck disable=SC2254  # a pattern is what ONLY is
        case $name in ${ONLY:-*}) ;; *) continue ;; esac
        : >"$why"
        start=$(date +%s%N)
        timeout -k 10 "$TEST_TIMEOUT_S" bash "$0" --one "$file" "$name" >"$log" 2>&1 3>"$why"
        result=$?
        ms=$((($(date +%s%N) - start) / 1000000))
        case $result in
            0)
                echo "ok   $suite ${name#test_} (${ms} ms)"
                [[ -z ${VERBOSE-} ]] || sed 's/^/    /' "$log"
                ((passed++))
                ;;
            77)
                echo "skip $suite ${name#test_}: $(cut -d' ' -f2- "$why")"
                ((skipped++))
                ;;
            *)
                [[ $result == 124 || $result == 137 ]] && echo "  timed out after $TEST_TIMEOUT_S s" >>"$log"
                echo "FAIL $suite ${name#test_} (${ms} ms)"
                sed 's/^/    /' "$log" | tail -n 60
                ((failed++))
                ;;
        esac
    done
    if grep -q '^file_teardown()' "$file" && ! bash "$0" --one "$file" file_teardown >"$log" 2>&1 3>"$why"; then
        echo "FAIL $suite: its tear-down failed"
        sed 's/^/    /' "$log" | tail -n 40
        ((failed++))
    fi
    bash "$0" --one "$file" rack_sweep >/dev/null 2>&1 3>&1
    rm -rf --one-file-system "$RACK_STATE"
done

echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
