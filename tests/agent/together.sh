#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# Many at once, and what may not disturb what.
file_setup() {
    need_fuse
    need_root
    rack_up
    local i
    for i in 1 2 3 4 5; do blade_up "$i"; done
    snapshot nap '/bin/sleep 1000'
    snapshot slow '/bin/sleep 1000'
    head -c 40000000 /dev/urandom >"$M/snapshots/slow/big"
}
file_teardown() {
    local i
    for i in 1 2 3 4 5; do blade_end "$i"; done
    rack_down
}

test_01_sigchld_does_not_cancel() {
    bash -c "sleep 0.05 & echo slow >'$M/blades/1/load'"
    [[ $(<"$M/blades/1/state") == running ]]
}

test_02_two_echoes_to_one_load_join() {
    bash -c "echo slow >'$M/blades/2/load'" &
    local first=$!
    bash -c "echo slow >'$M/blades/2/load'"
    wait "$first"
    [[ $(<"$M/blades/2/load") == slow@1 && $(<"$M/blades/2/state") == running ]]
}

test_03_another_image_meanwhile_is_eexist() {
    echo y >>"$M/snapshots/slow/big"
    bash -c "echo slow >'$M/blades/2/load'" &
    local first=$!
    sleep 0.1
    fails_with "File exists" write_to "$M/blades/2/load" nap
    wait "$first"
    [[ $(<"$M/blades/2/load") == slow@2 ]]
}

test_04_any_gives_different_blades() {
    local i
    for i in 1 2; do echo 1 >"$M/blades/$i/unload"; done
    for i in 1 2 3 4 5; do
        bash -c "exec 3<>'$M/blades/any/load'; echo nap >&3 && read slot image <&3 && echo \$slot \$image" >"$RACK_STATE/any.$i" &
    done
    wait
    [[ $(cat "$RACK_STATE"/any.* | sort -u | wc -l) == 5 ]] || { cat "$RACK_STATE"/any.*; return 1; }
    fails_with "No such device or address" write_to "$M/blades/any/load" nap
    [[ $(ls "$M/state/running" | wc -l) == 5 ]]
    for i in 1 2 3 4 5; do echo 1 >"$M/blades/$i/unload"; done
}

test_05_ten_any_at_once_on_five_blades() {
    local i pids=() good=0
    for i in 1 2 3 4 5 6 7 8 9 10; do
        bash -c "echo nap >'$M/blades/any/load'" 2>/dev/null &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i" && ((++good)); done
    [[ $good == 5 ]] || { echo "  $good of 10"; return 1; }
    for i in 1 2 3 4 5; do echo 1 >"$M/blades/$i/unload"; done
}

test_06_a_load_is_cancelled_by_int_and_only_then() {
    head -c 150000000 /dev/urandom >"$M/snapshots/slow/big"
    bash -c "echo slow >'$M/blades/3/load'" 2>"$RACK_STATE/cancelled" &
    local pid=$! result=0
    sleep 0.15
    kill -WINCH "$pid"
    sleep 0.05
    kill -TERM "$pid"
    wait "$pid" || result=$?
    ((result != 0))
    within 5 state_is 3 ready
    echo slow >"$M/blades/3/load" # goes on from there
    [[ $(<"$M/blades/3/state") == running ]]
    echo 1 >"$M/blades/3/unload"
}

test_07_the_mount_answers_while_loads_wait() {
    echo x >>"$M/snapshots/slow/big"
    local i
    for i in 1 2 3 4 5; do bash -c "echo slow >'$M/blades/$i/load'" & done
    local worst=0 ms start
    for i in $(seq 1 50); do
        start=$(date +%s%N)
        stat "$M/status" "$M/blades/1/state" >/dev/null
        ms=$((($(date +%s%N) - start) / 1000000))
        ((ms > worst)) && worst=$ms
    done
    wait
    echo "  worst: $worst ms"
    ((worst < 1000))
    for i in 1 2 3 4 5; do
        [[ $(<"$M/blades/$i/state") == running ]]
        echo 1 >"$M/blades/$i/unload"
    done
}

test_08_what_runs_goes_on_while_the_next_streams() {
    echo nap >"$M/blades/4/load"
    echo z >>"$M/snapshots/slow/big"
    bash -c "echo slow >'$M/blades/4/load'" &
    local pid=$! seen progress
    while kill -0 "$pid" 2>/dev/null; do
        # the state first: it may change only once everything has arrived
        seen=$(<"$M/blades/4/state")
        progress=$(<"$M/blades/4/progress")
        [[ $seen == running ]] || awk '{split($2, b, "/"); exit b[1] != b[2]}' <<<"$progress" || { echo "  $seen at $progress"; return 1; }
        sleep 0.02
    done
    wait "$pid"
    echo 1 >"$M/blades/4/unload"
}

test_09_a_writer_makes_the_load_wait_then_etxtbsy() {
    exec 5>>"$M/snapshots/nap/open-file"
    local start end
    start=$(date +%s)
    fails_with "Text file busy" write_to "$M/blades/5/load" nap
    end=$(date +%s)
    ((end - start >= 4 && end - start <= 8))
    grep -q open-file "$M/blades/5/error"
    (sleep 1 && exec 5>&-) &
    bash -c "sleep 1" &
    exec 5>&-
    echo nap >"$M/blades/5/load"
    [[ $(<"$M/blades/5/state") == running ]]
    echo 1 >"$M/blades/5/unload"
    wait
}

test_10_the_tree_is_of_one_moment() {
    mkdir "$M/snapshots/moment"
    head -c 30000000 /dev/urandom >"$M/snapshots/moment/aaa-first"
    mkdir "$M/snapshots/moment/many"
    local i
    for i in $(seq 1 500); do echo "$i" >"$M/snapshots/moment/many/$i"; done
    # two names always change together, one rename after the other: b never is ahead of a
    (
        for i in $(seq 1 400); do
            echo "$i" >"$M/snapshots/moment/.a.new" && mv "$M/snapshots/moment/.a.new" "$M/snapshots/moment/a"
            echo "$i" >"$M/snapshots/moment/.b.new" && mv "$M/snapshots/moment/.b.new" "$M/snapshots/moment/b"
        done
    ) &
    local writer=$!
    sleep 0.1
    echo moment >"$M/blades/5/load"
    kill "$writer" 2>/dev/null || true
    wait "$writer" 2>/dev/null || true
    local a b image
    image=$(readlink "$M/blades/5/image")
    a=$(<"$M/blades/5/$image/a") b=$(<"$M/blades/5/$image/b")
    ((a == b || a == b + 1)) || { echo "  a=$a b=$b"; return 1; }
    echo 1 >"$M/blades/5/unload"
}
