#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# The mount as people see it before any blade is there: names, listing, times, sizes.
file_setup() {
    need_fuse
    rack_up
}
file_teardown() { rack_down; }

test_the_top_is_as_documented() {
    [[ $(ls "$M") == $'blades\nrunning\nsnapshots\nstate\nstatus\nstore' ]]
    [[ $(ls "$M/state") == $'absent\nfailed\nloaded\nloading\nlost\nready\nrunning\nstopped' ]]
    [[ -z $(ls "$M/snapshots") && -z $(ls "$M/running") && -z $(ls "$M/blades") ]]
    [[ $(stat -c %a "$M/snapshots") == 750 && $(stat -c %a "$M/running") == 750 ]]
}

test_a_slot_is_made_renamed_and_removed() {
    mkdir "$M/blades/3"
    [[ $(ls "$M/blades") == 3 ]]
    [[ $(<"$M/blades/3/state") == absent ]]
    [[ -L $M/state/absent/3 && $(readlink "$M/state/absent/3") == ../../blades/3 ]]
    [[ $(<"$M/state/absent/3/state") == absent ]]
    local key
    key=$(<"$M/blades/3/key")
    mv "$M/blades/3" "$M/blades/left"
    [[ $(ls "$M/blades") == left && $(<"$M/blades/left/key") == "$key" ]]
    [[ -L $M/state/absent/left && ! -e $M/state/absent/3 ]]
    rmdir "$M/blades/left"
    [[ -z $(ls "$M/blades") && -z $(ls "$M/state/absent") ]]
}

test_a_slot_has_its_control_files() {
    mkdir "$M/blades/files"
    local file
    for file in load state progress error key run unload info log; do
        [[ -f $M/blades/files/$file ]] || { echo "  no $file"; return 1; }
    done
    [[ ! -e $M/blades/files/image && ! -L $M/blades/files/image && ! -L $M/blades/files/source ]]
    [[ $(stat -c '%a %u %g' "$M/blades/files/key") == "400 0 0" ]]
    [[ $(stat -c %s "$M/blades/files/state") == 7 ]] # "absent\n"
    rmdir "$M/blades/files"
}

test_sizes_are_exact_and_every_tool_can_read() {
    mkdir "$M/blades/r"
    local file size
    for file in load state progress error info log key; do
        size=$(stat -c %s "$M/blades/r/$file")
        [[ $(cat "$M/blades/r/$file" | wc -c) == "$size" ]] || { echo "  $file"; return 1; }
        [[ $(tail -c 100000 "$M/blades/r/$file" | wc -c) == "$size" ]]
        cp "$M/blades/r/$file" "$RACK_STATE/copy"
        [[ $(stat -c %s "$RACK_STATE/copy") == "$size" ]]
    done
    for file in status store/stats; do
        [[ $(cat "$M/$file" | wc -c) == "$(stat -c %s "$M/$file")" ]]
    done
    rmdir "$M/blades/r"
}

test_any_is_there_but_not_listed() {
    [[ -d $M/blades/any && -e $M/blades/any/load && -e $M/blades/any/error ]]
    [[ -z $(ls "$M/blades") ]]
    fails_with "" mkdir "$M/blades/any"
    fails_with "No such device or address" write_to "$M/blades/any/load" nosuch || fails_with "No such file" write_to "$M/blades/any/load" nosuch
}

test_times_mean_something() {
    local before after
    before=$(date +%s)
    mkdir "$M/blades/t"
    after=$(date +%s)
    local at
    at=$(stat -c %Y "$M/blades/t")
    ((at >= before && at <= after))
    at=$(stat -c %Y "$M/state/absent/t")
    ((at == 0 || (at >= before && at <= after))) || { echo "  state link: $at"; return 1; }
    rmdir "$M/blades/t"
}

test_owners_and_modes_of_slots_are_kept() {
    mkdir "$M/blades/o"
    chown 1234:2345 "$M/blades/o/load"
    chmod 660 "$M/blades/o/load"
    chmod 750 "$M/blades/o"
    [[ $(stat -c '%a %u %g' "$M/blades/o/load") == "660 1234 2345" ]]
    [[ $(stat -c %a "$M/blades/o") == 750 ]]
    chmod 644 "$M/blades/o/key" 2>/dev/null || true
    chown 1234 "$M/blades/o/key" 2>/dev/null || true
    [[ $(stat -c '%a %u' "$M/blades/o/key") == "400 0" ]]
    rack_down
    rack_up
    [[ $(stat -c '%a %u %g' "$M/blades/o/load") == "660 1234 2345" && $(stat -c %a "$M/blades/o") == 750 ]]
    rmdir "$M/blades/o"
}

test_walking_the_whole_mount_ends() {
    mkdir "$M/blades/w" "$M/snapshots/walk"
    echo x >"$M/snapshots/walk/f"
    find "$M" >"$RACK_STATE/found"
    grep -q "$M/snapshots/walk/f" "$RACK_STATE/found"
    ! grep -q '\.bladefs' "$RACK_STATE/found"
    du -s "$M" >/dev/null
    tar -C "$M" -cf /dev/null .
    mkdir "$RACK_STATE/whole"
    cp -a "$M/." "$RACK_STATE/whole/"
    [[ $(<"$RACK_STATE/whole/snapshots/walk/f") == x ]]
    rm -rf "$RACK_STATE/whole"
    rm -r "$M/snapshots/walk"
    rmdir "$M/blades/w"
}

test_df_shows_the_store() {
    [[ $(df --output=target "$M/snapshots" | tail -n 1) == "$M" ]]
    [[ $(df -B1 --output=size "$M" | tail -n 1) == $(df -B1 --output=size "$STORE" | tail -n 1) ]]
}
