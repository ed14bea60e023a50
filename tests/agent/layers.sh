#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# Where the blade's file system cannot share blocks between files (ext4), a new image that is much like a held one is a
# layer above it: it takes next to no disk, and the instance sees exactly the new tree.
file_setup() {
    need_fuse
    need_root
    can_share_blocks && skip "the file system of $RACK_STATE shares blocks between files: trees are whole there"
    rack_up
    blade_up 1 --keep 1
    snapshot web "/bin/sleep $((100000 + PORT))" # nobody else's
    local i
    mkdir -p "$M/snapshots/web/srv/data" "$M/snapshots/web/srv/conf.d"
    for i in 1 2 3 4 5; do
        head -c 10000000 /dev/urandom >"$M/snapshots/web/srv/data/$i"
    done
    echo "line one" >"$M/snapshots/web/srv/conf.d/app.conf"
    ln "$M/snapshots/web/etc/passwd" "$M/snapshots/web/srv/data/one"
}
file_teardown() {
    blade_end 1
    rack_down
}

can_share_blocks() {
    echo x >"$RACK_STATE/probe"
    cp --reflink=always "$RACK_STATE/probe" "$RACK_STATE/probe2" 2>/dev/null
}

# The image's directory on the blade: the one that came last.
newest() {
    find "$(blade_dir 1)/images" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2
}

load() {
    echo web >"$M/blades/1/load"
    [[ $(<"$M/blades/1/load") == "$1" && $(<"$M/blades/1/state") == running ]]
}

program() { # the pid of what runs
    local p
    for p in $(pgrep -f "^/bin/sleep $((100000 + PORT))\$"); do
        [[ $(readlink "/proc/$p/ns/mnt") != $(readlink /proc/self/ns/mnt) ]] && echo "$p" && return
    done
    return 1
}

# What the program sees is the running snapshot $1; but for what its container has of its own.
sees() {
    local pid dir
    pid=$(program)
    for dir in "$M/running/$1" "/proc/$pid/root"; do
        (cd "$dir" && find . -xdev -path ./proc -prune -o -path ./sys -prune -o -path ./dev -prune -o \
            -type d -printf '%p d %m %U %G %T@\n' -o -printf '%p %y %m %U %G %s %n %T@ %l\n' | grep -v '^\. ' | sort) \
            >"$RACK_STATE/list.$([[ $dir == /proc* ]] && echo b || echo a)"
    done
    diff "$RACK_STATE/list.a" "$RACK_STATE/list.b"
    diff -r --no-dereference "$M/running/$1/srv" "/proc/$pid/root/srv"
}

is_small() { # DIRECTORY: less than a megabyte
    local kib
    kib=$(du -sk "$1" | cut -f 1)
    ((kib < 1024)) || {
        echo "  $1 takes $kib KiB" >&2
        return 1
    }
}

test_01_the_first_is_whole() {
    load web@1
    [[ ! -e $(newest)/base ]]
    sees web@1
}

test_02_one_line_is_a_small_layer() {
    echo "line two" >>"$M/snapshots/web/srv/conf.d/app.conf"
    load web@2
    [[ -s $(newest)/base ]]
    is_small "$(newest)"
    sees web@2
    grep -Eq '^100% .* sent [0-9.]+(K|)i?B ' "$M/blades/1/progress" || { cat "$M/blades/1/progress"; return 1; }
}

test_03_and_another_one() {
    rm "$M/snapshots/web/srv/data/one" "$M/snapshots/web/www/index.html"
    mv "$M/snapshots/web/srv/conf.d" "$M/snapshots/web/srv/etc"
    mkdir "$M/snapshots/web/www/index.html"
    load web@3
    [[ -s $(newest)/base ]]
    sees web@3
}

test_04_back_and_forth() {
    local n
    for n in 1 3 2 1 3; do
        echo "web@$n" >"$M/blades/1/load"
        [[ $(<"$M/blades/1/load") == "web@$n" ]]
        sees "web@$n"
    done
}

test_05_what_others_stand_on_is_kept() {
    local n
    for n in 4 5 6 7; do
        echo "line $n" >>"$M/snapshots/web/srv/etc/app.conf"
        load "web@$n"
        is_small "$(newest)"
        sees "web@$n"
    done
    # keeps the current one, one more, and what these stand on
    local kept=("$(blade_dir 1)"/images/*)
    ((${#kept[@]} <= 4))
}

test_06_a_restarted_agent_goes_on() {
    blade_down 1
    blade_start 1 --keep 1
    within 10 state_is 1 running
    sees web@7
    echo "a last line" >>"$M/snapshots/web/srv/etc/app.conf"
    load web@8
    sees web@8
    echo restart >"$M/blades/1/run"
    sees web@8
}

test_07_what_it_wrote_is_its_own() {
    local pid
    pid=$(program)
    echo more >>"/proc/$pid/root/srv/data/2"
    rm "/proc/$pid/root/srv/data/3"
    not diff -q "$M/running/web@8/srv/data/2" "/proc/$pid/root/srv/data/2"
    echo "again" >>"$M/snapshots/web/srv/etc/app.conf"
    load web@9
    sees web@9
}

test_08_removed_ones_go_when_nobody_stands_on_them() {
    local n
    for n in 1 2 3 4 5 6 7 8; do
        rmdir "$M/running/web@$n"
    done
    sees web@9
    echo 1 >"$M/blades/1/unload"
    rmdir "$M/running/web@9"
    within 5 bash -c "[[ -z \$(ls '$(blade_dir 1)/images') ]]"
}
