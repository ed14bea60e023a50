#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# Checks of the store: damage is found, named by what it touches, and repaired from what still has the content.
file_setup() {
    need_fuse
    need_root
    rack_up -o noeager
    blade_up 1
    snapshot app '/bin/sleep 1000'
    for n in 1 2 3 4 5 6; do head -c 3000000 /dev/urandom >"$M/snapshots/app/part-$n"; done
    mkdir -p "$M/snapshots/app/a/deep/place"
    head -c 5000000 /dev/urandom >"$M/snapshots/app/a/deep/place/precious file"
    echo app >"$M/blades/1/load"
}
file_teardown() {
    blade_end 1
    rack_down
}

value() { awk -v key="$1" '$1 == key {print $2; exit}' "${2:-$M/store/fsck}"; }

# Where the first 64 bytes of FILE's content at OFFSET lie in a pack (random content is stored as it is): PACK and PLACE.
place_of() { # FILE OFFSET
    python3 - "$STORE/packs" "$1" "$2" <<'END'
import glob, sys
with open(sys.argv[2], "rb") as f:
    f.seek(int(sys.argv[3]))
    want = f.read(64)
for pack in sorted(glob.glob(sys.argv[1] + "/*.pack"), reverse=True):
    with open(pack, "rb") as f:
        at = f.read().find(want)
    if at >= 0:
        print(pack, at)
        sys.exit(0)
sys.exit("not in any pack")
END
}
damage() { # FILE OFFSET
    local at pack place
    at=$(place_of "$1" "$2")
    pack=${at% *} place=${at##* }
    printf 'DAMAGE' | dd of="$pack" bs=1 seek=$((place + 20)) conv=notrunc status=none
}
offline() { # EXIT-CODE: the check of a store that is not mounted, its lines in $RACK_STATE/found
    local result=0
    "$BLADEFS" --fsck "$STORE" >"$RACK_STATE/found" 2>"$RACK_STATE/said" || result=$?
    cat "$RACK_STATE/found" "$RACK_STATE/said"
    [[ $result == "$1" ]]
}
down() { rack_down; }
up() {
    rack_up -o noeager
    within 20 blade_is_connected 1
    within 20 state_is 1 running
}

test_01_never_and_the_words() {
    [[ $(<"$M/store/fsck") == never ]]
    [[ $(stat -c '%a %U' "$M/store/fsck") == "600 root" ]]
    fails_with "Invalid argument" write_to "$M/store/fsck" quick
    fails_with "Invalid argument" write_to "$M/store/fsck" 1
    [[ $(<"$M/store/fsck") == never ]]
}

test_02_nothing_is_wrong() {
    echo full >"$M/store/fsck"
    [[ $(value when) =~ ^20[0-9-]+T[0-9:.]+Z$ ]]
    (($(value packs) >= 1 && $(value chunks) > 100 && $(value bytes) > 23000000))
    [[ $(value bad_chunks) == 0 && $(value repaired) == 0 && $(value lost) == 0 ]]
    not grep -Eq '^(bad |touches|lost [^0-9]|repaired [^0-9]|error)' "$M/store/fsck"
    local result=0
    "$BLADEFS" --fsck "$STORE" 2>"$RACK_STATE/said" || result=$?
    [[ $result == 8 ]]
    grep -q "in use by another controller" "$RACK_STATE/said"
    down
    offline 0
    up
    not "$BLADEFS" --fsck "$RACK_STATE/none"
    [[ ! -e $RACK_STATE/none ]]
}

test_03_it_is_repaired_from_the_source_while_it_runs() {
    damage "$M/snapshots/app/part-3" 700000
    damage "$M/snapshots/app/a/deep/place/precious file" 3000000
    echo full >"$M/store/fsck"
    cat "$M/store/fsck"
    [[ $(value bad_chunks) == 2 && $(value repaired) == 2 && $(value lost) == 0 ]]
    grep -qx "touches app@1 part-3" "$M/store/fsck"
    grep -qx "touches app@1 a/deep/place/precious file" "$M/store/fsck"
    grep -qx "repaired part-3 from snapshots/app" "$M/store/fsck"
    diff -r --no-dereference "$M/snapshots/app" "$M/running/app@1"
    echo full >"$M/store/fsck"
    [[ $(value bad_chunks) == 0 && $(value lost) == 0 ]]
}

test_04_lost_is_said_and_stored_again() {
    cp -a "$M/snapshots/app/part-5" "$RACK_STATE/part-5"
    echo other >"$M/snapshots/app/part-5"
    damage "$RACK_STATE/part-5" 100000
    fails_with "Input/output error" write_to "$M/store/fsck" full
    cat "$M/store/fsck"
    [[ $(value lost) == 1 && $(value bad_chunks) == 1 && $(value repaired) == 0 ]]
    grep -qx "lost app@1 part-5" "$M/store/fsck"
    diff -r --no-dereference -x part-5 "$M/snapshots/app" "$M/running/app@1"
    # another snapshot has it
    mkdir "$M/snapshots/twin"
    cp "$RACK_STATE/part-5" "$M/snapshots/twin/"
    echo full >"$M/store/fsck"
    grep -qx "repaired part-5 from snapshots/twin" "$M/store/fsck"
    cmp "$RACK_STATE/part-5" "$M/running/app@1/part-5"
    rm -r "$M/snapshots/twin"
    cp -a "$RACK_STATE/part-5" "$M/snapshots/app/part-5"
}

test_05_offline_the_same() {
    local pack
    down
    damage "$STORE/snapshots/app/part-1" 2000000
    offline 1
    grep -qx "touches app@1 part-1" "$RACK_STATE/found"
    [[ $(value repaired "$RACK_STATE/found") == 1 ]]
    offline 0
    mv "$STORE/snapshots/app/part-2" "$RACK_STATE/"
    damage "$RACK_STATE/part-2" 2000000
    offline 4
    grep -qx "lost app@1 part-2" "$RACK_STATE/found"
    offline 4 # it stays so
    mv "$RACK_STATE/part-2" "$STORE/snapshots/app/"
    offline 1
    offline 0
    # a whole pack is gone
    pack=$(place_of "$STORE/snapshots/app/part-6" 0)
    rm "${pack% *}"
    offline 1
    (($(value repaired "$RACK_STATE/found") > 10))
    offline 0
    up
    diff -r --no-dereference "$M/snapshots/app" "$M/running/app@1"
}

# What the opening of the store mends is said, once, and is no fault afterwards.
test_06_offline_it_says_what_it_mended() {
    local pack
    down
    pack=$(find "$STORE/packs" -name '*.pack' | sort | tail -n 1)
    printf 'torn tail' >>"$pack"
    offline 1
    grep -qx "cut 9 bytes off packs/${pack##*/}, behind its last whole chunk" "$RACK_STATE/found"
    [[ $(value bad_chunks "$RACK_STATE/found") == 0 && $(value lost "$RACK_STATE/found") == 0 ]]
    offline 0
    pack=$(find "$STORE/packs" -name '*.pack' | sort | head -n 1)
    truncate -s -100 "$pack" # of its footer
    offline 1
    grep -qx "mended packs/${pack##*/}: its footer" "$RACK_STATE/found"
    offline 0
    printf 'x' | dd of="$pack" bs=1 seek=3 conv=notrunc status=none
    up
    echo full >"$M/store/fsck"
    not grep -q "^bad packs/${pack##*/}" "$M/store/fsck" # the start has mended it
    printf 'x' | dd of="$pack" bs=1 seek=3 conv=notrunc status=none
    echo full >"$M/store/fsck"
    grep -qx "bad packs/${pack##*/}: its header, mended at the next start" "$M/store/fsck"
    down
    offline 1
    grep -qx "mended packs/${pack##*/}: its header" "$RACK_STATE/found"
    offline 0
    up
    diff -r --no-dereference "$M/snapshots/app" "$M/running/app@1"
}

# What a load would need is damaged, and the source, unchanged since, has it: the load does not believe its note.
test_07_a_load_after_a_loss() {
    echo one >"$M/snapshots/app/a/index"
    echo app >"$M/blades/1/load"
    local at
    mv "$M/snapshots/app/part-4" "$RACK_STATE/part-4"
    echo app >"$M/blades/1/load"
    damage "$RACK_STATE/part-4" 1000000
    fails_with "Input/output error" write_to "$M/store/fsck" full
    mv "$RACK_STATE/part-4" "$M/snapshots/app/part-4"
    echo app >"$M/blades/1/load"
    diff -r --no-dereference "$M/snapshots/app" "$M/running/$(<"$M/blades/1/load")"
    echo full >"$M/store/fsck"
}

test_08_the_list_of_files() {
    local number
    # the chunks that are no file's: those of images
    down
    python3 - "$STORE/packs" <<'END'
import glob, sys
hit = 0
for pack in glob.glob(sys.argv[1] + "/*.pack"):
    data = bytearray(open(pack, "rb").read())
    at = data.find(b"bladLIST")
    while at >= 0:
        data[at + 9] ^= 0x40
        hit += 1
        at = data.find(b"bladLIST", at + 8)
    open(pack, "wb").write(data)
sys.exit(0 if hit else "no list")
END
    offline 4
    grep -q '^lost app@[0-9]* its list of files$' "$RACK_STATE/found"
    rack_up -o noeager
    within 20 blade_is_connected 1
    # they can be seen, and removed
    fails_with "Input/output error" ls "$M/running/app@1"
    [[ $(find "$M/running" -mindepth 1 -maxdepth 1 | wc -l) -ge 3 ]]
    # the source is as it was captured last: a load stores it again
    echo app >"$M/blades/1/load"
    number=$(<"$M/blades/1/load")
    diff -r --no-dereference "$M/snapshots/app" "$M/running/$number"
    for number in "$M"/running/app@*; do
        rmdir "$number" || true
    done
    ls "$M/running"
    echo full >"$M/store/fsck" || { cat "$M/store/fsck"; return 1; }
}

test_09_it_shows_how_far_it_is_and_is_alone_and_ends_when_told() {
    local pid result=0
    for n in {11..40}; do head -c 4000000 /dev/urandom >"$M/snapshots/app/part-$n"; done
    echo app >"$M/blades/1/load"
    bash -c "echo full >'$M/store/fsck'" 2>"$RACK_STATE/said" &
    pid=$!
    within 5 grep -q '^running [0-9]*%$' "$M/store/fsck"
    fails_with "File exists" write_to "$M/store/fsck" full
    ls "$M/running" >/dev/null
    kill -INT "$pid" 2>/dev/null || true
    wait "$pid" || result=$?
    within 10 grep -q '^when' "$M/store/fsck"
    echo more >"$M/snapshots/app/more"
    bash -c "echo full >'$M/store/fsck'" &
    pid=$!
    echo app >"$M/blades/1/load"
    wait "$pid"
    [[ $(value bad_chunks) == 0 && $(value lost) == 0 ]]
}

test_10_beside_collections() {
    local pid i
    while echo gc >"$M/store/gc"; do sleep 0.05; done 2>/dev/null &
    pid=$!
    for i in 1 2 3 4 5 6; do
        head -c 6000000 /dev/urandom >"$M/snapshots/app/part-1"
        echo app >"$M/blades/1/load"
        find "$M/running" -mindepth 1 -maxdepth 1 -exec rmdir {} + 2>/dev/null || true
        echo full >"$M/store/fsck"
        [[ $(value bad_chunks) == 0 && $(value lost) == 0 ]]
    done
    kill "$pid"
    wait "$pid" || true
    diff -r --no-dereference "$M/snapshots/app" "$M/running/$(<"$M/blades/1/load")"
}

# What is repaired needs room: some of what is kept is given for it. Beyond that it is said that there is none.
test_11_a_full_disk() {
    local n
    blade_end 1
    rack_down
    truncate -s 200M "$RACK_STATE/disk"
    mkfs.ext4 -q -m 0 "$RACK_STATE/disk"
    mkdir -p "$RACK_STATE/small"
    mount -o loop "$RACK_STATE/disk" "$RACK_STATE/small"
    STORE=$RACK_STATE/small/store
    rack_up -o noeager
    blade_up 2
    snapshot disk '/bin/sleep 1000'
    for n in 1 2 3 4; do head -c 9000000 /dev/urandom >"$M/snapshots/disk/part-$n"; done
    echo disk >"$M/blades/2/load"
    dd if=/dev/zero of="$M/snapshots/disk/zeros" bs=1M 2>/dev/null || true
    while head -c 4096 /dev/zero >>"$M/snapshots/disk/zeros" 2>/dev/null; do :; done
    for n in 1 2 3; do damage "$M/snapshots/disk/part-$n" 3000000; done
    echo full >"$M/store/fsck"
    cat "$M/store/fsck"
    [[ $(value bad_chunks) == 3 && $(value repaired) == 3 && $(value lost) == 0 ]]
    diff -r --no-dereference -x zeros "$M/snapshots/disk" "$M/running/disk@1"
    rack_down
    offline 0
    while head -c 4096 /dev/zero >>"$STORE/snapshots/disk/zeros" 2>/dev/null; do :; done
    for n in {0..42}; do damage "$STORE/snapshots/disk/part-4" $((n * 200000)); done
    offline 8
    grep -q 'No space left on device' "$RACK_STATE/said"
    grep -qx 'touches disk@1 part-4' "$RACK_STATE/found"
    grep -qx 'not repaired part-4 from snapshots/disk: No space left on device' "$RACK_STATE/found"
    grep -qx 'lost disk@1 part-4' "$RACK_STATE/found"
    rm "$STORE/snapshots/disk/zeros"
    within 10 offline 1
    offline 0
    rack_up -o noeager
    diff -r --no-dereference "$M/snapshots/disk" "$M/running/disk@1"
    blade_end 2
    rack_down
    umount "$RACK_STATE/small"
    STORE=$RACK_STATE/store
    rack_up -o noeager
    blade_start 1
}
