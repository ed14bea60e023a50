#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# Unlucky, clumsy and unentitled users: frozen blades, signals in a load, things that are in use, rights, keys.
file_setup() {
    need_fuse
    need_root
    rack_up
    blade_up 1
    blade_up 2
    snapshot nap '/bin/sleep 1000'
    snapshot big '/bin/sleep 1000'
    head -c 100000000 /dev/urandom >"$M/snapshots/big/blob"
}
file_teardown() {
    blade_end 1
    blade_end 2
    rack_down
}
now_ms() {
    echo $(($(date +%s%N) / 1000000))
}
# While its agent stands still, no load ends well, however fast the machine is.
freeze() { kill -STOP "$(<"$(blade_dir "$1").pid")"; }
thaw() { kill -CONT "$(<"$(blade_dir "$1").pid")"; }

test_01_a_frozen_blade_slows_nobody() {
    local t0 t1 alone beside
    t0=$(now_ms)
    echo big >"$M/blades/2/load"
    t1=$(now_ms)
    alone=$((t1 - t0))
    echo 1 >"$M/blades/2/unload"
    head -c 100000000 /dev/urandom >"$M/snapshots/big/blob"
    bash -c "echo big >'$M/blades/1/load'" 2>/dev/null &
    local pid=$!
    within 20 bash -c "grep -Eq '^[1-9][0-9]?%' '$M/blades/1/progress'"
    freeze 1
    t0=$(now_ms)
    echo big >"$M/blades/2/load"
    t1=$(now_ms)
    beside=$((t1 - t0))
    echo "  alone $alone ms, beside a frozen one $beside ms"
    ((beside < alone + 2000))
    not wait "$pid"
    grep -q 'connection lost' "$M/blades/1/error"
    thaw 1
    within 10 blade_is_connected 1
    echo big >"$M/blades/1/load"
    [[ $(<"$M/blades/1/state") == running ]]
    echo 1 >"$M/blades/1/unload"
    echo 1 >"$M/blades/2/unload"
}

test_02_int_around_a_sigchld() {
    head -c 100000000 /dev/urandom >"$M/snapshots/big/blob"
    cat >"$RACK_STATE/w.py" <<'P'
import os, sys, signal, time, subprocess
# a writer with a handler for SIGCHLD, as bash has, and the default for INT
signal.signal(signal.SIGCHLD, lambda *a: None)
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.siginterrupt(signal.SIGCHLD, True)
subprocess.Popen(["sleep", "0.2"])
fd = os.open(sys.argv[1], os.O_WRONLY)
open(sys.argv[2], "w").close()
os.write(fd, b"big\n")
P
    freeze 1
    python3 "$RACK_STATE/w.py" "$M/blades/1/load" "$RACK_STATE/begun" &
    local pid=$! r=0
    within 20 test -e "$RACK_STATE/begun"
    sleep 0.3
    kill -INT $pid
    wait $pid || r=$?
    thaw 1
    ((r == 130))
    within 20 state_is 1 ready
    [[ -z $(<"$M/blades/1/load") ]]
    echo big >"$M/blades/1/load"
    echo 1 >"$M/blades/1/unload"
    # a pause of the writer is no end
    head -c 100000000 /dev/urandom >"$M/snapshots/big/blob"
    bash -c "echo big >'$M/blades/1/load'" &
    pid=$!
    sleep 0.3
    kill -STOP $pid
    sleep 0.2
    kill -CONT $pid
    wait $pid
    [[ $(<"$M/blades/1/state") == running ]]
    echo 1 >"$M/blades/1/unload"
    # bash with a background sleep, in the foreground
    head -c 100000000 /dev/urandom >"$M/snapshots/big/blob"
    bash -c "(sleep 0.2 & echo big >'$M/blades/1/load')"
    [[ $(<"$M/blades/1/state") == running ]]
    echo 1 >"$M/blades/1/unload"
}

test_03_kill_cancels() {
    head -c 100000000 /dev/urandom >"$M/snapshots/big/blob"
    freeze 1
    bash -c "echo big >'$M/blades/1/load'" &
    local pid=$!
    sleep 0.5
    kill -KILL $pid
    wait $pid || true
    thaw 1
    within 20 state_is 1 ready
    [[ -z $(<"$M/blades/1/load") ]]
}

test_04_loads_join_and_one_is_cancelled() {
    head -c 100000000 /dev/urandom >"$M/snapshots/big/blob"
    freeze 1
    bash -c "echo big >'$M/blades/1/load'" &
    local a=$!
    bash -c "echo big >'$M/blades/1/load'" &
    local b=$!
    sleep 0.5
    kill -TERM $a
    not wait $a
    thaw 1
    wait $b
    [[ $(<"$M/blades/1/state") == running ]]
}

test_05_stopped_then_loaded_keeps_what_it_wrote() {
    snapshot writer "/bin/sh -c 'echo line >>/kept; wc -l </kept; exec sleep 1000'"
    echo writer >"$M/blades/2/load"
    echo stop >"$M/blades/2/run"
    echo writer >"$M/blades/2/load"
    within 20 bash -c "[[ \$(tail -n 1 '$M/blades/2/log') == 2 ]]"
    [[ $(<"$M/blades/2/load") == writer@1 ]]
}

test_06_rm_of_used_things() {
    fails_with "not empty" rmdir "$M/running/writer@1"
    fails_with "not empty" rmdir "$M/blades/2"
    rm -r "$M/snapshots/writer"
    [[ $(<"$M/blades/2/state") == running && ! -L $M/blades/2/source && -L $M/blades/2/image ]]
    fails_with "No such file" write_to "$M/blades/2/load" writer
    echo writer@1 >"$M/blades/2/load"
    snapshot writer "/bin/sleep 5000"
    echo writer >"$M/blades/2/load"
    [[ $(<"$M/blades/2/load") == writer@2 ]]
}

test_07_mv_while_loading() {
    echo 1 >"$M/blades/1/unload"
    head -c 100000000 /dev/urandom >"$M/snapshots/big/blob"
    freeze 1
    bash -c "echo big >'$M/blades/1/load'" &
    local pid=$!
    sleep 0.5
    fails_with "not empty" rmdir "$M/blades/1"
    mv "$M/blades/1" "$M/blades/uno"
    fails_with "File exists" write_to "$M/blades/uno/load" nap
    thaw 1
    wait $pid
    [[ $(<"$M/blades/uno/state") == running && $(<"$M/blades/uno/load") == big@* ]]
    mv "$M/blades/uno" "$M/blades/1"
    # the source is renamed and removed while it loads
    head -c 100000000 /dev/urandom >"$M/snapshots/big/blob"
    bash -c "echo big >'$M/blades/1/load'" 2>"$RACK_STATE/said" &
    pid=$!
    sleep 0.1
    mv "$M/snapshots/big" "$M/snapshots/large"
    wait "$pid" || grep -q 'No such file' "$RACK_STATE/said" # it was captured already, or is not there any more
    mv "$M/snapshots/large" "$M/snapshots/big"
    echo big >"$M/blades/1/load"
}

test_08_group_rights() {
    chown root:users "$M/blades/1/load"
    chmod 620 "$M/blades/1/load"
    chmod 755 "$M/snapshots"
    chmod o+x "$RACK_STATE"
    local s=(setpriv --reuid=12345 --regid=100 --clear-groups)
    "${s[@]}" bash -c "echo nap >'$M/blades/1/load'"
    [[ $(<"$M/blades/1/load") == nap@1 ]]
    fails_with "Permission denied" "${s[@]}" cat "$M/blades/1/key"
    fails_with "Permission denied" setpriv --reuid=12345 --regid=12345 --clear-groups bash -c "echo nap >'$M/blades/1/load'"
    chmod 750 "$M/snapshots/nap"
    fails_with "Permission denied" "${s[@]}" bash -c "echo nap >'$M/blades/1/load'"
    fails_with "Permission denied" "${s[@]}" bash -c "echo nap@1 >'$M/blades/1/load'"
    [[ $(stat -c '%a %u' "$M/blades/1/key") == "400 0" ]]
    fails_with "" "${s[@]}" bash -c "echo new >'$M/blades/1/key'"
}

test_09_unmount_with_busy_files() {
    exec 5<"$M/snapshots/nap/bin/busybox"
    exec 6<"$M/blades/1/log"
    [[ $(<"$M/blades/1/state") == running ]] || echo nap >"$M/blades/1/load"
    fails_with "busy" umount "$M"
    [[ $(<"$M/blades/1/state") == running ]]
    exec 5>&- 6>&-
    umount "$M"
    within 5 process_gone "$(<"$RACK_STATE/bladefs.pid")"
    rack_up
    within 10 state_is 1 running
    # TERM with files and directories open: nothing leaks
    exec 5<"$M/snapshots/nap/bin/busybox" 6<"$M/blades/1/log" 7<"$M/running/nap@1/bin/busybox" 8<"$M/snapshots/nap/bin" 9>>"$M/snapshots/nap/new"
    rack_down
    exec 5>&- 6>&- 7>&- 8>&- 9>&-
    rack_up
    within 10 state_is 1 running
}

test_10_new_key() {
    local old new
    echo nap >"$M/blades/1/load"
    old=$(<"$M/blades/1/key")
    echo new >"$M/blades/1/key"
    new=$(<"$M/blades/1/key")
    [[ $old != "$new" ]]
    # the old one is still good
    blade_down 1
    blade_start 1
    within 10 state_is 1 running
    echo "$new" >"$(blade_dir 1).key"
    blade_down 1
    blade_start 1
    within 10 state_is 1 running
    echo "$old" >"$(blade_dir 1).key"
    blade_down 1
    blade_start 1
    sleep 1.5
    state_is 1 lost
    echo "$new" >"$(blade_dir 1).key"
    blade_down 1
    blade_start 1
    within 10 state_is 1 running
}
