#!/usr/bin/env bash
# Installs what is missing (Debian's packages, as root), builds, and runs every suite: lint, unit, golden, fuzz replay,
# with gcc and clang, under ASan+UBSan and TSan, then the mount and agent suites and the quickstart with real programs.
# The last line is "N passed, N failed, N skipped". A test that cannot run says why.
#   tests/run.sh            everything
#   tests/run.sh unit       one part: lint, unit, asan, tsan, clang, mount, newest, agent, quickstart, bench
#                           (newest: the mount suites again, with the newest libfuse, built from Debian's sources)
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
parts=${*:-lint clang unit asan tsan mount newest agent quickstart bench}
out=$(mktemp -d "${TMPDIR:-/tmp}/bladefs-run.XXXXXX")
trap 'rm -rf "$out"' EXIT
passed=0 failed=0 skipped=0

packages=(gcc clang clang-format clang-tidy libclang-rt-14-dev meson ninja-build pkg-config git python3 shellcheck
    libfuse3-dev fuse3 libxxhash-dev libzstd-dev liburing-dev libcmocka-dev libssl-dev libsqlite3-dev libjansson-dev
    runc tini busybox-static debootstrap attr acl libcap2-bin rsync curl sqlite3 make iproute2 procps util-linux zstd
    e2fsprogs inotify-tools casync borgbackup fio stress-ng nfs-ganesha nfs-ganesha-vfs libnfs-dev qemu-system-x86)

install_missing() {
    local missing
    missing=$(dpkg-query -W -f '${Package} ${Status}\n' "${packages[@]}" 2>/dev/null | awk '/ok installed$/ {print $1}' |
        sort -u | comm -13 - <(printf '%s\n' "${packages[@]}" | sort -u))
    [[ -n $missing ]] || return 0
    if [[ $(id -u) != 0 ]]; then
        echo "missing packages, and only root can install them: ${missing//$'\n'/ }"
        return 0
    fi
    echo "installing: ${missing//$'\n'/ }"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # a list of words
    { apt-get update -q && apt-get install -qy --no-install-recommends $missing; } >"$out/apt.log" 2>&1 ||
        tail -n 5 "$out/apt.log"
}

step() { # NAME COMMAND...: one check that passes or fails
    local name=$1 start=$SECONDS
    shift
    if "$@" >"$out/step.log" 2>&1; then
        echo "ok   $name ($((SECONDS - start)) s)"
        ((++passed))
    else
        echo "FAIL $name"
        sed 's/^/    /' "$out/step.log" | tail -n 80
        ((++failed))
        return 1
    fi
}

build() { # DIRECTORY meson options...
    local dir=$1
    shift
    [[ -e $dir/build.ninja ]] || CC=${CC:-gcc} meson setup "$dir" "$@" || return 1
    ninja -C "$dir"
}

build_programs() { # as build, without the tests that meson runs
    local dir=$1 programs=(fs/bladefs engine/agent/bladed tests/fsx)
    shift
    [[ -e $dir/build.ninja ]] || CC=${CC:-gcc} meson setup "$dir" "$@" || return 1
    ! ninja -C "$dir" -t targets all | grep -q '^tests/lib/nfs_client:' || programs+=(tests/lib/nfs_client)
    ninja -C "$dir" "${programs[@]}"
}

count() { # adds "N passed, N failed, N skipped" at the end of a suite's output
    local line
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$1" | tail -n 1)
    if [[ -z $line ]]; then
        ((++failed))
        return
    fi
    # shellcheck disable=SC2086  # words are meant
    set -- $line
    ((passed += $1, failed += $3, skipped += $5))
}

meson_suites() { # DIRECTORY LABEL meson-test-options...
    local dir=$1 label=$2
    shift 2
    meson test -C "$dir" --print-errorlogs -t 5 "$@" >"$out/meson.log" 2>&1
    grep -E ' (FAIL|TIMEOUT|ERROR|SKIP) ' "$out/meson.log" | sort -u
    local ok bad skip
    ok=$(awk '/^Ok:/ {print $2}' "$out/meson.log")
    bad=$(awk '/^(Fail|Timeout|Unexpected Pass):/ {n += $NF} END {print n + 0}' "$out/meson.log")
    skip=$(awk '/^Skipped:/ {print $2}' "$out/meson.log")
    if [[ -z $ok || $bad != 0 ]]; then
        tail -n 120 "$out/meson.log"
        [[ -n $ok ]] || bad=1
    fi
    echo "$label: ${ok:-0} passed, $bad failed, ${skip:-0} skipped"
    ((passed += ${ok:-0}, failed += bad, skipped += ${skip:-0}))
}

shell_suites() { # DIRECTORY FILES...
    local dir=$1
    shift
    BUILD=$PWD/$dir tests/lib/harness.sh "$@" | tee "$out/suite.log" | sed '$d'
    count "$out/suite.log"
}

export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
install_missing
for part in $parts; do
    echo "== $part"
    case $part in
        lint)
            step "builds (gcc, no warnings)" build build -Dwerror=true || break
            step "layers" tests/lint/layers.sh
            step "format, tidy, shellcheck" tests/lint/style.sh build
            ;;
        clang) CC=clang step "builds (clang, no warnings)" build build-clang -Dwerror=true ;;
        unit) step "build" build build -Dwerror=true && meson_suites build unit ;;
        asan)
            step "build (ASan, UBSan)" build build-asan -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false &&
                meson_suites build-asan "unit, ASan+UBSan"
            ;;
        tsan)
            step "build (TSan)" build build-tsan -Dwerror=true -Db_sanitize=thread -Db_lundef=false &&
                meson_suites build-tsan "unit, TSan" --no-suite fuzz
            ;;
        mount | agent)
            step "build (ASan, UBSan)" build build-asan -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false &&
                shell_suites build-asan tests/"$part"/*.sh
            ;;
        newest)
            libfuse=$PWD/build-libfuse-3.18
            if ! tests/libfuse.sh 3.18 "$libfuse" >"$out/libfuse.log" 2>&1; then
                echo "skip the mount suites with the newest libfuse: $(tail -n 1 "$out/libfuse.log")"
                ((++skipped))
            elif PKG_CONFIG_PATH=$libfuse/lib/pkgconfig step "build (ASan, UBSan, libfuse 3.18)" \
                build_programs build-asan-3.18 -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false; then
                LD_LIBRARY_PATH=$libfuse/lib shell_suites build-asan-3.18 tests/mount/*.sh tests/agent/eager.sh
                PKG_CONFIG_PATH=$libfuse/lib/pkgconfig step "build (TSan, libfuse 3.18)" \
                    build_programs build-tsan-3.18 -Dwerror=true -Db_sanitize=thread -Db_lundef=false &&
                    LD_LIBRARY_PATH=$libfuse/lib shell_suites build-tsan-3.18 tests/mount/{many,handles}.sh
            fi
            ;;
        quickstart) step "build" build build -Dwerror=true && step "examples/quickstart.sh --once" examples/quickstart.sh --once ;;
        bench)
            step "build" build build -Dwerror=true && step "tests/bench/run.sh --short" tests/bench/run.sh --short
            step "tests/bench/mount.sh --short" tests/bench/mount.sh --short
            ;;
        *)
            echo "unknown part: $part"
            ((++failed))
            ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
