#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# Snapshots are captured before anybody loads them, in the background; and what is loaded is what is there.
file_setup() {
    need_fuse
    need_root
    rack_up
    blade_up 1
    snapshot web '/bin/sleep 1000' one
    head -c 40000000 /dev/urandom >"$RACK_STATE/blob"
    cp "$RACK_STATE/blob" "$M/snapshots/web/blob"
}
file_teardown() {
    blade_end 1
    rack_down
}

stat_of() { awk -v key="$1" '$1 == key {print $2}' "$M/store/stats"; }
is_settled() { [[ $(stat_of eager_pending) == 0 ]]; }
# The bytes that the controller read by read(2) and its like, since it was started.
bytes_read() { awk '/^rchar/ {print $2}' "/proc/$(<"$RACK_STATE/bladefs.pid")/io"; }
same_as_source() { # NAME
    diff -r --no-dereference "$M/snapshots/$1" "$M/running/$(<"$M/blades/1/load")"
}

test_01_a_load_finds_the_work_done() {
    local stored chunks before
    within 30 is_settled
    [[ $(stat_of eager) == on && -z $(ls "$M/running") ]]
    stored=$(stat_of stored_bytes) chunks=$(stat_of chunks)
    ((stored > 40000000))
    before=$(bytes_read)
    echo web >"$M/blades/1/load"
    [[ $(stat_of stored_bytes) == "$stored" && $(stat_of chunks) == "$chunks" ]]
    # once from the packs for the blade, and not from the source
    (($(bytes_read) - before < 50000000))
    same_as_source web
    grep -q '^new_bytes 4[0-9]*$' "$M/snapshots/web/.bladefs/stats"
}

test_02_a_change_costs_what_changed() {
    local before
    echo two >"$M/snapshots/web/www/index.html"
    mkdir "$M/snapshots/web/etc/new.d"
    ln "$M/snapshots/web/etc/passwd" "$M/snapshots/web/etc/linked"
    mv "$M/snapshots/web/etc/passwd" "$M/snapshots/web/etc/new.d/"
    before=$(bytes_read)
    echo web >"$M/blades/1/load" # before it is quiet
    (($(bytes_read) - before < 10000000))
    same_as_source web
    echo three >"$M/snapshots/web/www/index.html"
    within 30 is_settled
    echo web >"$M/blades/1/load"
    same_as_source web
    [[ $(<"$M/running/$(<"$M/blades/1/load")/www/index.html") == three ]]
}

test_03_it_outlives_a_kill() {
    local before stored
    echo four >"$M/snapshots/web/www/index.html"
    within 30 is_settled
    rack_kill
    rack_up
    within 10 blade_is_connected 1
    within 10 state_is 1 running
    stored=$(stat_of stored_bytes)
    before=$(bytes_read)
    echo web >"$M/blades/1/load"
    (($(bytes_read) - before < 10000000))
    [[ $(stat_of stored_bytes) == "$stored" ]]
    same_as_source web
}

test_04_killed_at_any_moment_the_next_load_is_true() {
    local round
    for round in 1 2 3 4 5 6; do
        head -c 3000000 /dev/urandom >"$M/snapshots/web/more.$round"
        echo "round $round" >"$M/snapshots/web/www/index.html"
        rm -f "$M/snapshots/web/more.$((round - 2))"
        sleep "0.$((RANDOM % 9))"
        rack_kill
        rack_up
        within 10 blade_is_connected 1
        within 10 state_is 1 running
        ((round % 2)) || within 30 is_settled
        echo web >"$M/blades/1/load"
        same_as_source web
    done
}

# What was written through a mapping after the file was closed is in the image.
test_05_a_mapping_that_outlives_its_file() {
    local file=$M/snapshots/web/mapped
    head -c 100000 /dev/zero >"$file"
    within 30 is_settled
    python3 - "$file" <<'END'
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 100000)
os.close(fd)
time.sleep(1.5)
m[50000:50005] = b"later"
m.close()
END
    echo web >"$M/blades/1/load"
    same_as_source web
    grep -q later "$M/running/$(<"$M/blades/1/load")/mapped"
    rm "$file"
}

# A file that somebody keeps open is done when he closes it; a load says its name.
test_06_an_open_file_is_not_captured() {
    exec 5>>"$M/snapshots/web/open"
    echo line >&5
    sleep 1.2
    [[ $(stat_of eager_pending) == 1 ]]
    echo more >&5
    exec 5>&-
    within 30 is_settled
    echo web >"$M/blades/1/load"
    same_as_source web
}

test_07_many_changes_while_loads_go_on() {
    local i pid
    for i in {1..40}; do
        cp -r "$M/snapshots/web/bin" "$M/snapshots/web/copy.$((i % 7))"
        echo "$i" >"$M/snapshots/web/www/index.html"
        rm -rf "$M/snapshots/web/copy.$(((i + 3) % 7))"
        mv "$M/snapshots/web/copy.$((i % 7))" "$M/snapshots/web/moved.$((i % 3)).$i"
        sleep 0.05
    done &
    pid=$!
    for i in 1 2 3 4; do
        echo web >"$M/blades/1/load"
        sleep 0.7
    done
    wait "$pid"
    echo web >"$M/blades/1/load"
    same_as_source web
    rm -rf "$M"/snapshots/web/{moved,copy}.*
}

test_08_renamed_removed_and_made_again() {
    within 30 is_settled
    mkdir "$M/snapshots/other"
    cp -a "$RACK_STATE/root-web/." "$M/snapshots/other/"
    within 30 is_settled
    mv "$M/snapshots/other" "$M/snapshots/another"
    within 30 is_settled
    rm -r "$M/snapshots/another"
    within 30 is_settled
    mkdir "$M/snapshots/another"
    cp -a "$RACK_STATE/root-web/." "$M/snapshots/another/"
    echo else >"$M/snapshots/another/www/index.html"
    within 30 is_settled
    echo another >"$M/blades/1/load"
    same_as_source another
    [[ $(<"$M/blades/1/load") == another@1 ]]
}

test_09_it_can_be_switched_off() {
    local stored
    rack_down
    rack_up -o noeager
    within 10 blade_is_connected 1
    stored=$(stat_of stored_bytes)
    head -c 3000000 /dev/urandom >"$M/snapshots/web/quiet"
    sleep 1.5
    [[ $(stat_of eager) == off && $(stat_of stored_bytes) == "$stored" ]]
    echo web >"$M/blades/1/load"
    (($(stat_of stored_bytes) > stored + 2900000))
    same_as_source web
}
