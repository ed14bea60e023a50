#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# The main job: a program into the mount, its name into a blade, and it runs there. Agents on loopback.
file_setup() {
    need_fuse
    need_root
    rack_up
    blade_up 1
    blade_up 2
    snapshot web "/bin/busybox httpd -f -p 127.0.0.1:$(web_port) -h /www" "page one"
}
file_teardown() {
    blade_end 1
    blade_end 2
    rack_down
}

page() { # WORDS
    curl -sf "http://127.0.0.1:$(web_port)/" | grep -q "$1"
}

test_01_a_load_returns_when_it_runs() {
    [[ $(<"$M/blades/1/state") == ready && -L $M/state/ready/1 ]]
    echo web >"$M/blades/1/load"
    [[ $(<"$M/blades/1/state") == running && -L $M/state/running/1 && ! -L $M/state/ready/1 ]]
    within 2 page "page one"
    [[ $(<"$M/blades/1/load") == web@1 ]]
    [[ $(readlink "$M/blades/1/image") == ../../running/web@1 && -d $M/blades/1/image/bin ]]
    [[ $(readlink "$M/blades/1/source") == ../../snapshots/web ]]
    [[ -z $(<"$M/blades/1/error") ]]
    grep -Eq '^100% [0-9.]+[KMG]?i?B/[0-9.]+[KMG]?i?B sent ' "$M/blades/1/progress"
    grep -q '^1 .*running.*web@1' "$M/status"
    grep -q '^cores [0-9]' "$M/blades/1/info"
}

test_02_the_running_snapshot_is_the_tree() {
    diff -r --no-dereference "$RACK_STATE/root-web" "$M/running/web@1"
    rsync -aHAXn --delete --itemize-changes "$RACK_STATE/root-web/" "$M/running/web@1/" | grep -v '^\.d\.\.t\.*\|x\.* \./$' >"$RACK_STATE/diff" || true
    [[ ! -s $RACK_STATE/diff ]] || { cat "$RACK_STATE/diff"; return 1; }
    fails_with "Read-only file system" touch "$M/running/web@1/new"
    fails_with "not empty" rmdir "$M/running/web@1"
}

test_03_the_same_load_again_disturbs_nothing() {
    local before
    before=$(<"$M/store/stats")
    echo web >"$M/blades/1/load"
    [[ $(<"$M/blades/1/load") == web@1 && $(ls "$M/running") == web@1 ]]
    [[ $(<"$M/store/stats") == "$before" ]]
    page "page one"
}

test_04_a_changed_source_makes_the_next_one() {
    echo "page two" >"$M/snapshots/web/www/index.html"
    echo web >"$M/blades/1/load"
    [[ $(<"$M/blades/1/load") == web@2 ]]
    within 2 page "page two"
    local sent
    sent=$(sed -E 's/.* sent ([0-9.]+)([KMG]?)i?B .*/\1 \2/' "$M/blades/1/progress" | awk '{print $1 * ($2 == "K" ? 1024 : $2 == "M" ? 1048576 : 1)}')
    awk -v s="$sent" 'BEGIN {exit !(s < 4096)}' || { cat "$M/blades/1/progress"; return 1; }
}

test_05_going_back_is_by_its_number() {
    echo web@1 >"$M/blades/1/load"
    [[ $(<"$M/blades/1/load") == web@1 ]]
    within 2 page "page one"
    rmdir "$M/running/web@2"
    [[ $(ls "$M/running") == web@1 ]]
    fails_with "No such file" write_to "$M/blades/1/load" web@2
}

test_06_numbers_are_never_reused() {
    echo web >"$M/blades/1/load"
    [[ $(<"$M/blades/1/load") == web@3 ]]
    within 2 page "page two"
}

test_07_stop_start_restart_unload() {
    echo stop >"$M/blades/1/run"
    [[ $(<"$M/blades/1/state") == stopped ]]
    not page "page"
    echo start >"$M/blades/1/run"
    [[ $(<"$M/blades/1/state") == running ]]
    within 2 page "page two"
    echo restart >"$M/blades/1/run"
    within 2 page "page two"
    fails_with "not empty" rmdir "$M/blades/1"
    echo 1 >"$M/blades/1/unload"
    [[ $(<"$M/blades/1/state") == ready && -z $(<"$M/blades/1/load") && ! -L $M/blades/1/image ]]
    not page "page"
}

test_08_any_finds_a_blade() {
    exec 3<>"$M/blades/any/load"
    echo web >&3
    read -r slot image <&3
    exec 3>&-
    [[ $slot == 1 || $slot == 2 ]] && [[ $image == web@3 && $(<"$M/blades/$slot/state") == running ]]
    [[ $(<"$M/blades/any/load") == "$slot web@3" ]]
    within 2 page "page two"
    echo 1 >"$M/blades/$slot/unload"
}

test_09_a_slot_is_renamed_while_it_runs() {
    echo web >"$M/blades/1/load"
    mv "$M/blades/1" "$M/blades/front"
    [[ $(<"$M/blades/front/state") == running && $(<"$M/blades/front/load") == web@3 ]]
    page "page two"
    mv "$M/blades/front" "$M/blades/1"
    echo 1 >"$M/blades/1/unload"
}

test_10_a_program_that_does_not_start_puts_the_old_one_back() {
    echo web >"$M/blades/1/load"
    within 2 page "page two"
    snapshot broken '/bin/nothing-here --at all'
    fails_with "Input/output error" write_to "$M/blades/1/load" broken
    grep -q 'nothing-here' "$M/blades/1/error"
    [[ $(<"$M/blades/1/state") == running && $(<"$M/blades/1/load") == web@3 ]]
    within 2 page "page two"
    snapshot dying "/bin/sh -c 'echo it is too late; exit 3'"
    fails_with "Input/output error" write_to "$M/blades/1/load" dying
    grep -q '3' "$M/blades/1/error" && grep -q 'too late' "$M/blades/1/error"
    within 2 page "page two"
    echo web >"$M/blades/1/load"
    [[ -z $(<"$M/blades/1/error") ]]
    echo 1 >"$M/blades/1/unload"
}

test_11_a_tree_without_a_program_is_loaded() {
    mkdir -p "$M/snapshots/data" && echo content >"$M/snapshots/data/file"
    echo data >"$M/blades/2/load"
    [[ $(<"$M/blades/2/state") == loaded && -L $M/state/loaded/2 ]]
    echo 1 >"$M/blades/2/unload"
}

test_12_how_it_ended_is_told() {
    snapshot short "/bin/sh -c 'echo first; sleep 0.4; echo the last words; exit 7'"
    echo short >"$M/blades/2/load"
    within 5 state_is 2 failed
    grep -q '7' "$M/blades/2/error"
    within 2 grep -q 'the last words' "$M/blades/2/log"
    snapshot killed "/bin/sh -c 'sleep 0.4; kill -9 \$\$'"
    echo killed >"$M/blades/2/load"
    within 5 state_is 2 failed
    snapshot good "/bin/sh -c 'sleep 0.3; exit 0'"
    echo good >"$M/blades/2/load"
    within 5 state_is 2 stopped
    echo 1 >"$M/blades/2/unload"
}

test_13_what_it_wrote_stays_over_a_restart_and_not_over_another_image() {
    snapshot writer "/bin/sh -c 'echo line >>/kept; wc -l </kept; exec sleep 1000'"
    echo writer >"$M/blades/2/load"
    echo restart >"$M/blades/2/run"
    within 20 bash -c "[[ \$(tail -n 1 '$M/blades/2/log') == 2 ]]"
    echo good >"$M/blades/2/load"
    echo writer >"$M/blades/2/load"
    within 20 bash -c "[[ \$(tail -n 1 '$M/blades/2/log') == 1 ]]"
    echo 1 >"$M/blades/2/unload"
}

test_14_environment_and_words() {
    snapshot env "/bin/sh -c 'echo \"[\$0] [\$1]\" \$BLADE_SLOT \$BLADE_SNAPSHOT; exec sleep 1000' 'zero arg' \"one\\\"arg\""
    echo env >"$M/blades/2/load"
    within 20 grep -q '\[zero arg\] \[one"arg\] 2 env@1' "$M/blades/2/log"
    echo 1 >"$M/blades/2/unload"
}

test_15_source_stats() {
    grep -Eq '^files [1-9]' "$M/snapshots/web/.bladefs/stats"
    grep -Eq '^bytes [1-9]' "$M/snapshots/web/.bladefs/stats"
}
