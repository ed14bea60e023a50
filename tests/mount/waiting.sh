#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# A thousand loads that wait, and a mount that answers everybody else meanwhile.
file_setup() {
    need_fuse
    need_root
    [[ -w /sys/module/fuse/parameters/enable_uring ]] &&
        cat /sys/module/fuse/parameters/enable_uring >"$RACK_STATE/uring"
    true
}
file_teardown() {
    allow_uring "$(cat "$RACK_STATE/uring" 2>/dev/null || true)"
}

allow_uring() { # Y or N; nothing: this kernel has none
    [[ -z $1 ]] || echo "$1" >/sys/module/fuse/parameters/enable_uring
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

test_a_thousand_loads_wait_with_io_uring() {
    local version
    version=$("$BLADEFS" --version | sed -n 's/.*libfuse 3\.\([0-9]*\).*/\1/p')
    ((version >= 18)) || skip "$("$BLADEFS" --version) has no io_uring"
    [[ -e $RACK_STATE/uring ]] || skip "this kernel has no FUSE over io_uring"
    allow_uring Y
    rack_up -o io_uring
    allow_uring "$(<"$RACK_STATE/uring")"
    grep -q '^io_uring on$' "$M/store/stats"
    a_thousand_loads_wait
    rack_down
}

test_io_uring_is_off_where_nobody_asked_for_it() {
    rack_up
    grep -q '^io_uring off$' "$M/store/stats"
    rack_down
    # and where it cannot be had, the mount works without
    [[ ! -e $RACK_STATE/uring ]] || allow_uring N
    rack_up -o io_uring
    grep -q '^io_uring off$' "$M/store/stats"
    mkdir "$M/snapshots/plain"
    rack_down
}
