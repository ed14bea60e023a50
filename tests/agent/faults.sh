#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# Kills, lost connections, wrong keys, full disks.
file_setup() {
    need_fuse
    need_root
    rack_up
    blade_up 1
    snapshot nap '/bin/sleep 1000'
    snapshot web "/bin/busybox httpd -f -p 127.0.0.1:$(web_port) -h /www" "still here"
    snapshot big '/bin/sleep 1000'
    head -c 120000000 /dev/urandom >"$M/snapshots/big/blob"
}
file_teardown() {
    blade_end 1
    rack_down
}

page() {
    curl -sf "http://127.0.0.1:$(web_port)/" | grep -q "still here"
}

test_01_the_agent_is_killed_the_program_goes_on() {
    echo web >"$M/blades/1/load"
    within 2 page
    blade_kill 1
    within 10 state_is 1 lost
    page
    [[ -s $M/blades/1/info && $(<"$M/blades/1/load") == web@1 ]]
    blade_start 1
    within 10 state_is 1 running
    page
}

test_02_the_controller_is_killed_the_program_goes_on() {
    rack_kill
    page
    rack_up
    within 10 state_is 1 running
    [[ $(<"$M/blades/1/load") == web@1 ]]
    page
    echo stop >"$M/blades/1/run"
    not page
    echo start >"$M/blades/1/run"
    within 2 page
}

test_03_the_agent_is_killed_in_the_middle_of_a_load() {
    local round
    for round in 1 2 3; do
        head -c 60000000 /dev/urandom >>"$M/snapshots/big/blob"
        bash -c "echo big >'$M/blades/1/load'" 2>"$RACK_STATE/said" &
        local pid=$! result=0
        sleep "0.$((RANDOM % 9))"
        blade_kill 1
        wait "$pid" || result=$?
        ((result == 0)) || grep -q "Input/output error" "$RACK_STATE/said" || { cat "$RACK_STATE/said"; return 1; }
        blade_start 1
        within 10 blade_is_connected 1
        within 10 state_is 1 running
    done
    echo big >"$M/blades/1/load"
    [[ $(<"$M/blades/1/state") == running ]]
    echo web >"$M/blades/1/load"
    within 2 page
}

test_04_the_controller_is_killed_in_the_middle_of_a_load() {
    local round
    for round in 1 2 3; do
        head -c 30000000 /dev/urandom >>"$M/snapshots/big/blob"
        bash -c "echo big >'$M/blades/1/load'" 2>/dev/null &
        local pid=$!
        sleep "0.$((RANDOM % 9))"
        rack_kill
        wait "$pid" || true
        rack_up
        within 10 state_is 1 running
    done
    echo big >"$M/blades/1/load"
    cmp "$M/snapshots/big/blob" "$M/blades/1/image/blob"
    echo web >"$M/blades/1/load"
}

test_05_what_was_sent_is_not_sent_again() {
    # the second try of a load that was broken off sends less than everything
    head -c 200000000 /dev/urandom >"$M/snapshots/big/blob"
    bash -c "echo big >'$M/blades/1/load'" 2>/dev/null &
    local pid=$!
    within 60 bash -c "grep -Eq '^[3-9][0-9]%' '$M/blades/1/progress'" || true
    blade_kill 1
    wait "$pid" || true
    blade_start 1
    within 10 state_is 1 running
    echo big >"$M/blades/1/load"
    cat "$M/blades/1/progress"
    local sent
    sent=$(sed -E 's/.* sent ([0-9.]+)MiB .*/\1/' "$M/blades/1/progress")
    awk -v s="$sent" 'BEGIN {exit !(s < 175)}'
    cmp "$M/snapshots/big/blob" "$(blade_dir 1)"/images/*/tree/blob 2>/dev/null || cmp "$M/snapshots/big/blob" "$M/blades/1/image/blob"
    echo web >"$M/blades/1/load"
}

test_06_a_wrong_key_is_refused_and_logged() {
    mkdir -p "$M/blades/other" "$RACK_STATE/thief"
    local id secret
    read -r id secret <"$M/blades/other/key"
    echo "$id ${secret//[0-7]/8}" >"$RACK_STATE/thief.key"
    chmod 600 "$RACK_STATE/thief.key"
    "$BLADED" -c "127.0.0.1:$PORT" -k "$RACK_STATE/thief.key" -d "$RACK_STATE/thief" >"$RACK_STATE/thief.log" 2>&1 3>&- &
    echo $! >"$RACK_STATE/thief.pid"
    within 5 grep -qi 'key' "$RACK_STATE/thief.log"
    within 5 grep -qi 'other.*key\|key.*other' "$RACK_STATE/bladefs.log"
    [[ $(<"$M/blades/other/state") == absent ]]
    end_pid TERM "$RACK_STATE/thief.pid"
    rmdir "$M/blades/other"
}

test_07_a_second_agent_with_the_same_key_is_refused() {
    cp "$(blade_dir 1).key" "$RACK_STATE/twin.key"
    "$BLADED" -c "127.0.0.1:$PORT" -k "$RACK_STATE/twin.key" -d "$RACK_STATE/twin" >"$RACK_STATE/twin.log" 2>&1 3>&- &
    echo $! >"$RACK_STATE/twin.pid"
    within 5 grep -qi 'refused\|second\|already' "$RACK_STATE/twin.log"
    within 5 grep -qi 'second\|already' "$RACK_STATE/bladefs.log"
    [[ $(<"$M/blades/1/state") == running ]]
    end_pid TERM "$RACK_STATE/twin.pid"
}

test_08_a_frozen_blade_is_lost_and_let_in_again() {
    kill -STOP "$(<"$(blade_dir 1).pid")"
    within 10 state_is 1 lost
    page
    kill -CONT "$(<"$(blade_dir 1).pid")"
    within 5 state_is 1 running
    page
}

test_09_garbage_on_the_port_harms_nobody() {
    local i
    for i in 1 2 3 4 5; do
        head -c 100000 /dev/urandom | timeout 2 bash -c "cat >/dev/tcp/127.0.0.1/$PORT" 2>/dev/null || true
    done
    timeout 2 bash -c "echo 'GET / HTTP/1.0' >/dev/tcp/127.0.0.1/$PORT" 2>/dev/null || true
    [[ $(<"$M/blades/1/state") == running ]]
}

test_10_a_full_disk_on_the_blade() {
    mkdir -p "$(blade_dir small)"
    mount -t tmpfs -o size=30M,mode=700 small "$(blade_dir small)"
    blade_up small
    fails_with "No space left on device" write_to "$M/blades/small/load" big
    grep -qi 'space' "$M/blades/small/error"
    echo nap >"$M/blades/small/load"
    [[ $(<"$M/blades/small/state") == running ]]
    blade_end small
    within 5 umount "$(blade_dir small)"
    rmdir "$M/blades/small" 2>/dev/null || true
}

test_11_the_supervisor_is_killed_and_it_is_told() {
    echo nap >"$M/blades/1/load"
    supervisors_of 1 | xargs kill -KILL
    within 5 state_is 1 failed
    [[ -s $M/blades/1/error ]]
    echo nap >"$M/blades/1/load"
    within 5 state_is 1 running
}

test_12_unmount_with_loads_under_way() {
    head -c 100000000 /dev/urandom >>"$M/snapshots/big/blob"
    bash -c "echo big >'$M/blades/1/load'" 2>"$RACK_STATE/said" &
    local pid=$! result=0
    sleep 0.2
    rack_down
    wait "$pid" || result=$?
    ((result != 0)) || true
    rack_up
    within 10 blade_is_connected 1
    echo web >"$M/blades/1/load"
    within 2 page
}

test_13_a_bad_chunk_is_told_and_stored_again() {
    snapshot flip '/bin/sleep 1000'
    head -c 300000 /dev/urandom >"$M/snapshots/flip/data"
    echo flip >"$M/blades/1/load"
    rack_down
    # one byte of the newest pack's end of data is turned over
    local pack
    pack=$(ls -t "$STORE"/packs/*.pack | head -n 1)
    python3 - "$pack" "$RACK_STATE/root-flip" <<'P'
import sys
p = sys.argv[1]
b = bytearray(open(p, "rb").read())
n = len(b) // 2
b[n] ^= 1
open(p, "r+b").write(b)
P
    rack_up
    within 10 blade_is_connected 1
    # what is bad fails by name or is not touched; nothing crashes
    find "$M/running" -type f -exec cat {} + >/dev/null 2>"$RACK_STATE/bad" || grep -q 'Input/output error' "$RACK_STATE/bad"
    [[ $(<"$M/blades/1/state") == running ]]
}

test_14_the_agent_is_killed_while_the_old_program_is_stopped() {
    snapshot loth "/bin/sh -c 'trap \"sleep 1; exit 0\" TERM; while :; do sleep 0.1; done'"
    echo loth >"$M/blades/1/load"
    bash -c "echo restart >'$M/blades/1/run'" 2>/dev/null &
    local pid=$!
    sleep 0.3
    blade_kill 1 # it is stopping still
    blade_start 1
    within 10 state_is 1 running
    wait "$pid" || true
    bash -c "echo nap >'$M/blades/1/load'" 2>/dev/null &
    pid=$!
    within 5 test -e "$(blade_dir 1)/instance/next/spec"
    sleep 0.2
    blade_kill 1
    sleep 2 # it has stopped
    blade_start 1
    within 10 state_is 1 running
    [[ $(<"$M/blades/1/load") == loth@1 ]]
    wait "$pid" || true
    echo nap >"$M/blades/1/load"
}
