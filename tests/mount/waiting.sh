#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# A thousand loads that wait, and a mount that answers everybody else meanwhile.
file_setup() {
    need_fuse
    need_root
}

# The agent stands still: what was asked of it waits.
a_thousand_loads_wait() {
    local agent figures waiting
    snapshot web "/bin/busybox sleep 1000"
    blade_up 1
    agent=$(<"$(blade_dir 1).pid")
    kill -STOP "$agent"
    "$TESTS/lib/waiters.py" 1000 web "$M/blades/1/load" "$M/blades/1/state" "$M/snapshots/web" "$M/status" \
        </dev/null >"$RACK_STATE/figures"
    kill -CONT "$agent"
    cat "$RACK_STATE/figures"
    waiting=$(awk '/^waiting/ {print $2}' "$RACK_STATE/figures")
    figures=$(awk '/^stat/ {print $5}' "$RACK_STATE/figures")
    [[ $waiting == 1000 ]]
    ((figures < 5000)) || { echo "  99 of 100 looks took up to $figures us"; return 1; }
    blade_end 1
}

test_a_thousand_loads_wait() {
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
