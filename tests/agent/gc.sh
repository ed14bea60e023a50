#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# Collection of the store: what nothing needs comes back as room on the disk, and nothing else is touched.
file_setup() {
    need_fuse
    need_root
    rack_up
    blade_up 1
    blade_up 2
    snapshot app '/bin/sleep 1000'
}
file_teardown() {
    local slot
    for slot in 1 2 3; do
        [[ ! -e $(blade_dir $slot).pid ]] || blade_end $slot
    done
    rack_down
}

value() { # KEY FILE
    awk -v key="$1" '$1 == key {print $2}' "$2"
}

packs_bytes() {
    cat "$STORE"/packs/*.pack | wc -c
}

# Makes a version of app of its own: NUMBER, MEGABYTES that no other has.
version() {
    head -c "$2"000000 /dev/urandom >"$M/snapshots/app/blob"
    head -c 1000000 /dev/urandom >"$M/snapshots/app/part-$1"
    echo "version $1" >"$M/snapshots/app/www/index.html"
}

# The same tree as app had, kept outside.
keep_copy() { # NUMBER
    rm -rf "${RACK_STATE:?}/copy-$1"
    cp -a "$M/snapshots/app" "$RACK_STATE/copy-$1"
}

same() { # NUMBER
    diff -r --no-dereference "$RACK_STATE/copy-$1" "$M/running/app@$1"
}

test_01_never_and_the_words() {
    [[ $(<"$M/store/gc") == never ]]
    [[ $(stat -c '%a %U' "$M/store/gc") == "600 root" ]]
    [[ $(stat -c %s "$M/store/gc") == 6 ]]
    fails_with "Invalid argument" write_to "$M/store/gc" now
    fails_with "Invalid argument" write_to "$M/store/gc" 1
    [[ $(<"$M/store/gc") == never ]]
}

test_02_removed_versions_free_their_room() {
    local n before
    for n in 1 2 3 4; do
        version $n 12
        keep_copy $n
        echo app >"$M/blades/1/load"
        [[ $(<"$M/blades/1/load") == app@$n ]]
    done
    before=$(packs_bytes)
    ((before > 48000000))
    rmdir "$M/running/app@1" "$M/running/app@2"
    fails_with "not empty" rmdir "$M/running/app@4"
    echo gc >"$M/store/gc"
    cat "$M/store/gc"
    ((before - $(packs_bytes) > 23000000))
    [[ $(value when "$M/store/gc") =~ ^20[0-9-]+T[0-9:]+Z$ ]]
    (($(value removed_chunks "$M/store/gc") > 50))
    (($(value freed_bytes "$M/store/gc") > 23000000))
    (($(value packs_removed "$M/store/gc") > 0))
    [[ $(value kept_chunks "$M/store/gc") == $(value chunks "$M/store/stats") ]]
    not grep -q error "$M/store/gc"
    same 3
    same 4
    rack_down
    rack_up
    within 20 state_is 1 running
    same 3
    same 4
    [[ $(value bad_chunks "$M/store/stats") == 0 && $(value cut_bytes "$M/store/stats") == 0 ]]
    [[ $(<"$M/store/gc") == never ]]
}

test_03_again_it_finds_nothing() {
    echo gc >"$M/store/gc"
    local before
    before=$(packs_bytes)
    echo gc >"$M/store/gc"
    [[ $(value removed_chunks "$M/store/gc") == 0 && $(value moved_bytes "$M/store/gc") == 0 ]]
    [[ $(packs_bytes) == "$before" ]]
}

test_04_what_an_open_tree_needs_stays() {
    exec 3<"$M/running/app@3/blob"
    rmdir "$M/running/app@3"
    echo gc >"$M/store/gc"
    cmp /dev/fd/3 "$RACK_STATE/copy-3/blob"
    exec 3<&-
    sleep 0.5
    local before
    before=$(packs_bytes)
    echo gc >"$M/store/gc"
    ((before - $(packs_bytes) > 11000000))
    same 4
}

test_05_loads_and_captures_go_on() {
    local n last old
    (
        while [[ ! -e $RACK_STATE/enough ]]; do
            bash -c "echo gc >'$M/store/gc'" || { touch "$RACK_STATE/gc-failed" && break; }
        done
    ) &
    local collecting=$!
    trap 'touch "$RACK_STATE/enough"' EXIT
    for n in $(seq 1 12); do
        version "$n" 3
        echo app >"$M/blades/1/load" || { cat "$M/blades/1/error" && false; }
        last=$(<"$M/blades/1/load")
        diff -r --no-dereference "$M/snapshots/app" "$M/running/$last"
        echo "$last" >"$M/blades/2/load" || { cat "$M/blades/2/error" && false; }
        ((n % 3)) || rm "$M/snapshots/app"/part-*
        for old in "$M"/running/app@*; do
            rmdir "$old" 2>/dev/null || true
        done
    done
    touch "$RACK_STATE/enough"
    wait $collecting
    rm "$RACK_STATE/enough"
    [[ ! -e $RACK_STATE/gc-failed ]]
    [[ $(value bad_chunks "$M/store/stats") == 0 ]]
    [[ $(<"$M/blades/1/state") == running && $(<"$M/blades/2/state") == running ]]
    not grep -q 'damaged\|set aside' "$RACK_STATE/bladefs.log"
}

test_06_one_at_a_time_and_cancelled() {
    local first second i
    for i in 1 2 3 4 5 6 7 8; do
        first=0 second=0
        bash -c "echo gc >'$M/store/gc'" 2>"$RACK_STATE/first" &
        local pid=$!
        bash -c "echo gc >'$M/store/gc'" 2>"$RACK_STATE/second" || second=$?
        wait $pid || first=$?
        ((first == 0 || second == 0))
        [[ $first == 0 ]] || grep -q 'File exists' "$RACK_STATE/first"
        [[ $second == 0 ]] || grep -q 'File exists' "$RACK_STATE/second"
    done
    bash -c "echo gc >'$M/store/gc'" 2>/dev/null &
    local pid=$!
    kill -TERM $pid
    wait $pid || true
    echo gc >"$M/store/gc"
    find "$M/running" -type f -exec cat {} + >/dev/null
}

# Whatever is loaded reads as it did, after kills in the middle of collections.
test_07_killed_while_it_collects() {
    local round last delay old
    for round in $(seq 1 16); do
        version "$round" 20
        echo app >"$M/blades/1/load"
        last=$(<"$M/blades/1/load")
        rm -rf "${RACK_STATE:?}/copy"
        cp -a "$M/snapshots/app" "$RACK_STATE/copy"
        for old in "$M"/running/app@*; do
            rmdir "$old" 2>/dev/null || true
        done
        bash -c "echo gc >'$M/store/gc'" 2>/dev/null &
        local pid=$!
        delay=$(printf '0.%03d' $((round * 5)))
        sleep "$delay"
        rack_kill
        wait $pid || true
        rack_up
        diff -r --no-dereference "$RACK_STATE/copy" "$M/running/$last"
        [[ $(value bad_chunks "$M/store/stats") == 0 ]]
        within 20 state_is 1 running
    done
    echo gc >"$M/store/gc"
    diff -r --no-dereference "$RACK_STATE/copy" "$M/running/$last"
    # no more than what is there: the tree on blade 1, and on blade 2
    (($(packs_bytes) < 80000000))
    rack_down
    rack_up
    within 20 state_is 1 running
    diff -r --no-dereference "$RACK_STATE/copy" "$M/running/$last"
}

test_08_by_itself() {
    local before last
    version 1 90
    rm -f "$M/snapshots/app"/part-*
    echo app >"$M/blades/1/load"
    last=$(<"$M/blades/1/load")
    version 2 1
    echo app >"$M/blades/1/load"
    before=$(packs_bytes)
    rmdir "$M/running/$last"
    less() { (($(packs_bytes) < before - 80000000)); }
    within 30 less
    within 5 grep -q '^freed_bytes' "$M/store/gc"
    grep -q 'by itself' "$RACK_STATE/bladefs.log"
}

test_09_keep() {
    local n
    rack_down
    rack_up -o keep=2
    within 20 state_is 1 running
    within 20 blade_is_connected 2
    mkdir "$M/snapshots/kept"
    echo unused >"$M/snapshots/kept/file"
    for n in 1 2 3 4 5; do
        echo "$n" >"$M/snapshots/kept/file"
        echo kept >"$M/blades/1/load"
        [[ $(<"$M/blades/1/load") == "kept@$n" ]]
        [[ $n != 2 ]] || echo kept@2 >"$M/blades/2/load"
    done
    only() { [[ $(cd "$M/running" && echo kept@*) == "$1" ]]; }
    within 5 only "kept@2 kept@4 kept@5" # that one is loaded
    echo 1 >"$M/blades/2/unload"
    echo 6 >"$M/snapshots/kept/file"
    echo kept >"$M/blades/1/load"
    within 5 only "kept@5 kept@6"
    rack_down
    rack_up
    within 20 state_is 1 loaded
    only "kept@5 kept@6"
    echo 7 >"$M/snapshots/kept/file"
    echo kept >"$M/blades/1/load"
    sleep 0.5
    only "kept@5 kept@6 kept@7"
}

test_10_a_full_disk() {
    local before n
    blade_end 1
    blade_end 2
    rack_down
    truncate -s 256M "$RACK_STATE/disk"
    mkfs.ext4 -q -m 0 "$RACK_STATE/disk"
    mkdir -p "$RACK_STATE/small"
    mount -o loop "$RACK_STATE/disk" "$RACK_STATE/small"
    STORE=$RACK_STATE/small/store
    rack_up
    [[ $(stat -c %s "$STORE/packs/reserve") == 33554432 ]]
    blade_up 3
    snapshot disk '/bin/sleep 1000'
    for n in 1 2 3; do
        head -c 12000000 /dev/urandom >"$M/snapshots/disk/blob-$n"
        ((n != 2)) || rm "$M/snapshots/disk/blob-1"
        echo disk >"$M/blades/3/load"
    done
    rm -rf "${RACK_STATE:?}/copy"
    cp -a "$M/snapshots/disk" "$RACK_STATE/copy"
    dd if=/dev/zero of="$M/snapshots/disk/zeros" bs=1M 2>/dev/null || true
    while head -c 4096 /dev/zero >>"$M/snapshots/disk/zeros" 2>/dev/null; do :; done
    fails_with "No space left on device" bash -c "head -c 100000 /dev/zero >'$M/snapshots/disk/more'"
    fails_with "No space left on device" write_to "$M/blades/3/load" disk
    [[ $(<"$M/blades/3/load") == disk@3 ]]
    rmdir "$M/running/disk@1" "$M/running/disk@2"
    before=$(packs_bytes)
    echo gc >"$M/store/gc"
    cat "$M/store/gc"
    ((before - $(packs_bytes) > 11000000))
    rm "$M/snapshots/disk/zeros" "$M/snapshots/disk/more"
    diff -r --no-dereference "$RACK_STATE/copy" "$M/running/disk@3"
    whole() { [[ $(stat -c %s "$STORE/packs/reserve") == 33554432 ]]; }
    again() { echo gc >"$M/store/gc" && whole; }
    within 20 again
    rack_down
    rack_up
    diff -r --no-dereference "$RACK_STATE/copy" "$M/running/disk@3"
    within 20 state_is 3 running
    blade_end 3
    rack_down
    umount "$RACK_STATE/small"
    STORE=$RACK_STATE/store
    rack_up
    blade_start 1
    blade_start 2
}

# What was captured ahead stays, though no running snapshot has it; and what a capture remembers that a collection
# took is stored again.
test_11_what_was_captured_ahead_stays() {
    within 20 blade_is_connected 1
    within 20 blade_is_connected 2
    settled() { [[ $(value eager_pending "$M/store/stats") == 0 ]]; }
    version 20 9
    within 20 settled
    local stored removed
    stored=$(value stored_bytes "$M/store/stats")
    echo gc >"$M/store/gc"
    echo app >"$M/blades/1/load"
    (($(value stored_bytes "$M/store/stats") <= stored))
    diff -r --no-dereference "$M/snapshots/app" "$M/running/$(<"$M/blades/1/load")"
    # captured, and changed before anybody loads it: garbage, and the capture is kept
    version 21 9
    within 20 settled
    version 22 9
    within 20 settled
    echo gc >"$M/store/gc"
    removed=$(value removed_chunks "$M/store/gc")
    ((removed > 20)) || { cat "$M/store/gc"; return 1; }
    echo app >"$M/blades/1/load"
    diff -r --no-dereference "$M/snapshots/app" "$M/running/$(<"$M/blades/1/load")"
    # without any image: what is kept in memory holds it
    echo app >"$M/blades/2/load"
    echo x >"$M/snapshots/app/x"
    exec 5>>"$M/snapshots/app/open"
    echo gc >"$M/store/gc"
    echo gc >"$M/store/gc"
    exec 5>&-
    echo app >"$M/blades/1/load"
    diff -r --no-dereference "$M/snapshots/app" "$M/running/$(<"$M/blades/1/load")"
}

test_12_captures_ahead_and_collections_at_once() {
    within 20 blade_is_connected 1
    local i pid
    while echo gc >"$M/store/gc"; do sleep 0.02; done 2>/dev/null &
    pid=$!
    for i in {30..44}; do
        version "$i" 3
        rm -f "$M/snapshots/app/part-$((i - 1))"
        sleep "0.$((RANDOM % 9))"
        ((i % 3)) || echo app >"$M/blades/1/load"
        ((i % 3)) || diff -r --no-dereference "$M/snapshots/app" "$M/running/$(<"$M/blades/1/load")"
        find "$M/running" -mindepth 1 -maxdepth 1 -exec rmdir {} + 2>/dev/null || true
    done
    kill "$pid"
    wait "$pid" || true
    echo app >"$M/blades/1/load"
    diff -r --no-dereference "$M/snapshots/app" "$M/running/$(<"$M/blades/1/load")"
}
