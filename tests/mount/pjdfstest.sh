#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# pjdfstest in a source snapshot: no test fails that passes in an ordinary directory of the same disk. PJDFSTEST names
# its tree, built: git clone, autoreconf -ifs, ./configure, make pjdfstest. About 4 minutes: run it with
# TEST_TIMEOUT_S=900.
JOBS=6 # it sleeps most of the time

file_setup() {
    need_fuse
    need_root
    [[ -n ${PJDFSTEST-} ]] || skip "PJDFSTEST does not name a built pjdfstest"
    [[ -x $PJDFSTEST/pjdfstest && -d $PJDFSTEST/tests ]] || skip "$PJDFSTEST is not a built pjdfstest"
    command -v prove >/dev/null || skip "prove (perl) is not installed"
    mkdir "$RACK_STATE/pjd" "$RACK_STATE/native"
    cp -r "$PJDFSTEST/pjdfstest" "$PJDFSTEST/tests" "$RACK_STATE/pjd/"
    # It asks less of what df calls fuse: here the same is asked of both.
    echo "fs=$(df -PT "$RACK_STATE" | awk 'NR == 2 {print toupper($2)}')" >>"$RACK_STATE/pjd/tests/conf"
    rack_up -o suid,dev ${MOUNT_OPTIONS:+-o "$MOUNT_OPTIONS"}
    chmod 755 "$RACK_STATE" "$M/snapshots"
    mkdir -m 755 "$M/snapshots/pjd"
}
file_teardown() { [[ ! -e $RACK_STATE/bladefs.pid ]] || rack_down; }

run_in() { # DIRECTORY NAME: leaves NAME.failed, a line a file with the tests that failed in it
    (cd "$1" && prove -r -j "$JOBS" --nocolor "${PJD_TESTS:-$RACK_STATE/pjd/tests}") >"$RACK_STATE/$2.log" 2>&1 || true
    grep -q '^Files=[1-9]' "$RACK_STATE/$2.log" || { tail -n 20 "$RACK_STATE/$2.log"; return 1; }
    awk '/^[^ ].*\(Wstat: / {file = $1; bad = !/Failed: 0\)/}
        bad && /^  (Failed tests?|Non-zero exit|Parse errors|Bad plan)/ {print file, $0}' "$RACK_STATE/$2.log" |
        sed "s|^$RACK_STATE/pjd/tests/||" | sort >"$RACK_STATE/$2.failed"
    grep '^Files=' "$RACK_STATE/$2.log"
}

# What reads the results sees one that is bad.
test_a_failure_is_seen() {
    mkdir "$RACK_STATE/pjd/wrong"
    cat >"$RACK_STATE/pjd/wrong/00.t" <<'END'
#!/bin/sh
echo 1..3
echo ok 1
echo not ok 2
echo ok 3
END
    PJD_TESTS=$RACK_STATE/pjd/wrong run_in "$RACK_STATE/native" wrong
    grep -q 'Failed test:  2' "$RACK_STATE/wrong.failed"
    rm -r "$RACK_STATE/pjd/wrong"
}

test_what_passes_natively_passes_here() {
    run_in "$RACK_STATE/native" native
    run_in "$M/snapshots/pjd" mount
    [[ $(grep -o 'Tests=[0-9]*' "$RACK_STATE/native.log") == $(grep -o 'Tests=[0-9]*' "$RACK_STATE/mount.log") ]]
    comm -13 "$RACK_STATE/native.failed" "$RACK_STATE/mount.failed" >"$RACK_STATE/only-here"
    [[ ! -s $RACK_STATE/only-here ]] || { cat "$RACK_STATE/only-here"; return 1; }
    rm -rf "${M:?}/snapshots/pjd"
}
