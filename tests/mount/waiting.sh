#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# A thousand loads that wait, and a mount that answers everybody else meanwhile.
file_setup() {
    need_fuse
    need_root
}

# What the agent starts its programs with takes its time while there is a file "hold".
runtime_that_can_be_held() {
    cat >"$RACK_STATE/runtime" <<EOF
#!/bin/sh
while [ -e "$RACK_STATE/hold" ]; do sleep 0.1; done
exec runc "\$@"
EOF
    chmod +x "$RACK_STATE/runtime"
}

a_thousand_loads_wait() {
    local figures waiting waiters
    runtime_that_can_be_held
    snapshot web "/bin/busybox sleep 1000"
    blade_up 1 --runtime "$RACK_STATE/runtime"
    : >"$RACK_STATE/hold"
    "$TESTS/lib/waiters.py" 1000 web "$M/blades/1/load" "$M/blades/1/state" "$M/snapshots/web" "$M/status" \
        </dev/null >"$RACK_STATE/figures" &
    waiters=$!
    within 60 grep -q '^stat' "$RACK_STATE/figures"
    rm "$RACK_STATE/hold" # what was told to start ends no sooner, whoever asked for it
    wait "$waiters"
    cat "$RACK_STATE/figures"
    waiting=$(awk '/^waiting/ {print $2}' "$RACK_STATE/figures")
    figures=$(awk '/^stat/ {print $5}' "$RACK_STATE/figures")
    [[ $waiting == 1000 ]]
    ((figures < 5000)) || { echo "  99 of 100 looks took up to $figures us"; return 1; }
    within 20 state_is 1 running
    blade_end 1
}

test_a_thousand_loads_wait() {
    trap rack_sweep EXIT
    rack_up
    a_thousand_loads_wait
    rack_down
}

# libfuse's ring would lose the interrupts of loads, and an unanswered request keeps its place in it.
test_io_uring_stays_off() {
    rack_up
    grep -q '^io_uring off$' "$M/store/stats"
    rack_down
    mkdir -p "$RACK_STATE/other"
    fails_with "leave io_uring out" "$BLADEFS" "$RACK_STATE/other-store" "$RACK_STATE/other" -f -o io_uring
}
