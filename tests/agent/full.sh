#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# A disk of the controller's that is full, or read-only.
file_setup() {
    need_fuse
    need_root
    mkdir -p "$STORE"
    mount -t tmpfs -o size=60M,mode=700 small "$STORE"
    rack_up
    blade_up 1
    snapshot nap '/bin/sleep 1000'
    echo nap >"$M/blades/1/load"
}
file_teardown() {
    blade_end 1
    rack_down
    umount "$STORE"
}

fill() { # until nothing fits any more
    local i
    mkdir -p "$M/snapshots/fat"
    for i in $(seq 1 40); do
        head -c 4000000 /dev/urandom >"$M/snapshots/fat/$i" 2>/dev/null || break
    done
    while head -c 4096 /dev/urandom >>"$M/snapshots/fat/last" 2>/dev/null; do :; done
}

test_01_a_copy_into_a_full_store_is_enospc() {
    fails_with "No space left on device" dd if=/dev/zero of="$M/snapshots/nap/zeros" bs=1M count=100
    rm "$M/snapshots/nap/zeros"
    [[ $(<"$M/blades/1/state") == running ]]
}

test_02_a_load_is_enospc_and_says_so() {
    mkdir "$M/snapshots/half"
    cp -a "$RACK_STATE/root-nap/." "$M/snapshots/half/"
    head -c 35000000 /dev/urandom >"$M/snapshots/half/blob"
    fails_with "No space left on device" write_to "$M/blades/1/load" half
    cat "$M/blades/1/error"
    grep -qi 'space' "$M/blades/1/error"
    grep -q 'half' "$M/blades/1/error"
    [[ $(<"$M/blades/1/state") == running && $(<"$M/blades/1/load") == nap@1 ]]
    rm "$M/snapshots/half/blob"
    echo /bin/sleep 1000 >"$M/snapshots/half/.bladefs/exec"
    within 5 write_to "$M/blades/1/load" half # the kernel gives the space back a moment later
    [[ $(<"$M/blades/1/load") == half@* ]]
    find "$M/running" -type f -exec cat {} + >/dev/null
}

test_03_full_to_the_last_byte() {
    fill
    fails_with "No space left on device" write_to "$M/blades/1/load" fat
    cat "$M/blades/1/error"
    # what needs no room works: the states, stop and start
    [[ $(<"$M/blades/1/state") == running ]]
    echo x >>"$M/snapshots/nap/tmp/x" || true
    bash -c "echo stop >'$M/blades/1/run'" || true
    bash -c "echo start >'$M/blades/1/run'" || true
    within 20 state_is 1 running
    mkdir "$M/blades/new" || true
    rmdir "$M/blades/new" || true
    bash -c "echo nap@1 >'$M/blades/1/load'" || true
    cat "$M/blades/1/error" "$M/blades/1/load" "$M/blades/1/state"
    rm -r "$M/snapshots/fat"
    echo nap >"$M/blades/1/load"
    [[ $(<"$M/blades/1/state") == running && $(<"$M/blades/1/load") == nap@* ]]
    mkdir "$M/blades/new" && rmdir "$M/blades/new"
}

test_04_a_start_on_a_full_disk_works() {
    fill
    rack_kill
    rack_up
    within 10 state_is 1 running
    rm -r "$M/snapshots/fat"
    rack_down
    rack_up
    within 10 state_is 1 running
    find "$M/running" -type f -exec cat {} + >/dev/null
}

test_05_what_is_unchanged_can_be_removed_all_the_same() {
    # that it changes is to be noted first, and that must not need the room that is to be made
    mkdir "$M/snapshots/clean"
    cp -a "$RACK_STATE/root-nap/." "$M/snapshots/clean/"
    head -c 3000000 /dev/urandom >"$M/snapshots/clean/blob"
    echo clean >"$M/blades/1/load"
    fill
    rm "$M/snapshots/clean/blob"
    rm -r "$M/snapshots/fat"
    rack_down
    rack_up
    within 10 state_is 1 loaded
    echo clean >"$M/blades/1/load"
    fill
    rack_down
    rack_up
    within 10 state_is 1 loaded
    rm -r "$M/snapshots/clean"
    rm -r "$M/snapshots/fat"
    echo nap >"$M/blades/1/load"
}

test_06_a_store_that_is_read_only() {
    rack_down
    mount -o remount,ro "$STORE"
    local result=0
    timeout 20 "$BLADEFS" "$STORE" "$M" -f -o "listen=127.0.0.1:$PORT" >/dev/null 2>"$RACK_STATE/refusal" || result=$?
    [[ $result == 1 && $(wc -l <"$RACK_STATE/refusal") == 1 ]] || { echo "  exit $result"; cat "$RACK_STATE/refusal"; return 1; }
    grep -q 'Read-only file system' "$RACK_STATE/refusal"
    mount -o remount,rw "$STORE"
    rack_up
    within 10 state_is 1 running
}
