#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# A root filesystem of real size that nobody here made: debootstrap's minbase. The instance equals the source in every
# byte and attribute. REAL_TREE names a tree that is there already; else one is made (about a minute).
file_setup() {
    need_fuse
    need_root
    command -v debootstrap >/dev/null || skip "debootstrap is not installed"
    local tree=$RACK_STATE/tree mirror
    if [[ -n ${REAL_TREE-} ]]; then
        mkdir "$tree"
        cp -a "$REAL_TREE/." "$tree/"
    else
        mirror=$(apt-get indextargets --format '$(SITE)' 2>/dev/null | grep -v security | head -n 1)
        debootstrap --variant=minbase "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$tree" "$mirror" ||
            skip "debootstrap cannot fetch a root filesystem here"
    fi
    # what a minbase tree may not have of its own
    setcap cap_net_raw+ep "$tree/bin/ls"
    setfacl -m u:1000:rw "$tree/etc/hostname"
    truncate -s 20G "$tree/var/sparse" && echo end >>"$tree/var/sparse"
    echo middle | dd of="$tree/var/sparse" bs=1M seek=7000 conv=notrunc status=none
    ln "$tree/etc/passwd" "$tree/var/passwd-again"
    chmod 700 "$tree"
    rack_up
    blade_up 1
    mkdir "$M/snapshots/debian"
    cp -a "$tree/." "$M/snapshots/debian/"
    chmod --reference="$tree" "$M/snapshots/debian"
    touch -r "$tree" "$M/snapshots/debian"
    echo '/bin/sleep infinity' >"$M/snapshots/debian/.bladefs/exec"
    touch -r "$tree" "$M/snapshots/debian"
}
file_teardown() {
    blade_end 1
    rack_down
}

listing() {
    python3 "$TESTS/lib/treelist.py" "$@"
}

test_01_the_source_equals_the_tree() {
    listing "$RACK_STATE/tree" >"$RACK_STATE/tree.list"
    listing "$M/snapshots/debian" | sed 's/ user\.bladefs\.exec=[0-9a-f]*//' >"$RACK_STATE/source.list"
    diff "$RACK_STATE/tree.list" "$RACK_STATE/source.list" | head -n 20
    cmp "$RACK_STATE/tree.list" "$RACK_STATE/source.list"
}

test_02_it_is_loaded_and_runs() {
    echo debian >"$M/blades/1/load"
    [[ $(<"$M/blades/1/state") == running ]]
}

test_03_the_pristine_tree_on_the_blade_equals_it() {
    local pristine
    pristine=$(echo "$(blade_dir 1)"/images/*/tree)
    listing --root-as-instance "$RACK_STATE/tree" >"$RACK_STATE/tree.list"
    listing "$pristine" | sed 's/ user\.bladefs\.exec=[0-9a-f]*//' >"$RACK_STATE/blade.list"
    diff "$RACK_STATE/tree.list" "$RACK_STATE/blade.list" | head -n 20
    cmp "$RACK_STATE/tree.list" "$RACK_STATE/blade.list"
}

test_04_the_instance_sees_it_so() {
    # through the root of the program that runs: the overlay, not the tree below it
    local pid
    pid=$(pgrep -f '^/bin/sleep infinity$' | while read -r p; do
        [[ $(readlink "/proc/$p/ns/mnt") != $(readlink /proc/self/ns/mnt) ]] && echo "$p" && break
    done)
    [[ -n $pid ]]
    # the container's own mounts (proc, sys, dev) hide the tree's directories: look at the rest
    (cd "$RACK_STATE/tree" && find . -xdev -path ./proc -prune -o -path ./sys -prune -o -path ./dev -prune -o \
        -printf '%p %y %m %U %G %s %T@ %l\n') | grep -v '^\. ' | sort >"$RACK_STATE/a"
    (cd "/proc/$pid/root" && find . -xdev -path ./proc -prune -o -path ./sys -prune -o -path ./dev -prune -o \
        -printf '%p %y %m %U %G %s %T@ %l\n') | grep -v '^\. ' | sort >"$RACK_STATE/b"
    # a directory's size is its file system's own matter
    diff <(awk '$2 == "d" {$6 = ""} {print}' "$RACK_STATE/a") <(awk '$2 == "d" {$6 = ""} {print}' "$RACK_STATE/b") | head -n 20
    cmp <(awk '$2 == "d" {$6 = ""} {print}' "$RACK_STATE/a") <(awk '$2 == "d" {$6 = ""} {print}' "$RACK_STATE/b")
}

test_05_the_running_snapshot_equals_it() {
    listing "$RACK_STATE/tree" | sed -E 's/ data=[0-9,-]*//' >"$RACK_STATE/tree.list"
    listing "$M/running/debian@1" | sed -E 's/ user\.bladefs\.exec=[0-9a-f]*//; s/ data=[0-9,-]*//' >"$RACK_STATE/run.list"
    diff "$RACK_STATE/tree.list" "$RACK_STATE/run.list" | head -n 20
    cmp "$RACK_STATE/tree.list" "$RACK_STATE/run.list"
}

test_06_unchanged_is_quick_and_reads_nothing() {
    local start ms
    start=$(date +%s%N)
    echo debian >"$M/blades/1/load"
    ms=$((($(date +%s%N) - start) / 1000000))
    echo "  $ms ms"
    ((ms < 1000))
    [[ $(ls "$M/running") == debian@1 ]]
}

test_07_one_line_changed_sends_little() {
    echo "# a line" >>"$M/snapshots/debian/etc/bash.bashrc"
    echo debian >"$M/blades/1/load"
    cat "$M/blades/1/progress"
    grep -Eq ' sent ([0-9]+B|[0-9.]+KiB|0\.[0-9]+MiB) ' "$M/blades/1/progress"
    tail -n 1 "$M/blades/1/image/etc/bash.bashrc" | grep -q 'a line'
}
