#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# What programs that check themselves find in a source snapshot: nothing. LONG=1 lets each go on for longer;
# MOUNT_OPTIONS=nopassthrough: without that.
file_setup() {
    need_fuse
    need_root
    rack_up ${MOUNT_OPTIONS:+-o "$MOUNT_OPTIONS"}
    mkdir "$M/snapshots/posix"
}
file_teardown() { rack_down; }

D=$M/snapshots/posix
FSX=${BUILD:-}/tests/fsx
long() { # LONG SHORT: the number that is meant
    echo "$((${LONG:-0} ? $1 : $2))"
}

need() {
    command -v "$1" >/dev/null || skip "$1 is not installed"
}

test_fsx_finds_a_wrong_byte() {
    if "$FSX" -s 1 -n 2000 -c 500 "$D/f" >"$RACK_STATE/fsx.log"; then
        echo "  it found nothing"
        return 1
    fi
    grep -q 'differs at byte .* 1 bytes are wrong; seed 1, operation ' "$RACK_STATE/fsx.log"
    grep -q 'write [0-9]*+[0-9]*$' "$RACK_STATE/fsx.log" # what was done is said
    rm "$D/f"
}

# A new seed each time: what fails says it.
test_fsx() {
    local i
    for ((i = 0; i < $(long 20 2); i++)); do
        "$FSX" -n 2000 "$D/f"
        "$FSX" -n 2000 -d "$D/f"
    done
    rm "$D/f"
}

# Two at once, in one snapshot and with a mapping in each: no server thread waits for another for ever.
test_fsx_many_at_once() {
    local i pids=()
    for i in {1..12}; do
        "$FSX" -n "$(long 10000 1000)" -l 300000 "$D/many$i" &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
    rm "$D"/many*
}

# The kernel may keep what a mapping stored: it must not look like a hole, or a sparse copy leaves it out.
test_what_a_mapping_stored_is_no_hole() {
    python3 - "$D/mapped" "$RACK_STATE/sparse" <<'END'
import mmap, os, subprocess, sys
name, copy = sys.argv[1:]
fd = os.open(name, os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 8 << 20)
m = mmap.mmap(fd, 8 << 20)
m[4 << 20:(4 << 20) + 5] = b"hello"
m[(6 << 20):(6 << 20) + 5] = b"again"
reader = os.open(name, os.O_RDONLY)
at = os.lseek(reader, 0, os.SEEK_DATA)
assert at <= 4 << 20, at
subprocess.run(["cp", "--sparse=always", name, copy], check=True)
with open(copy, "rb") as f:
    assert f.read() == m[:], "the copy differs"
m[7 << 20:(7 << 20) + 5] = b"third"
subprocess.run(["cp", name, copy], check=True)
with open(copy, "rb") as f:
    assert f.read() == m[:], "the second copy differs"
assert os.lseek(reader, 5 << 20, os.SEEK_DATA) <= 6 << 20
END
    rm "$D/mapped" "$RACK_STATE/sparse"
}

# Nor is a file without blocks one without content.
test_what_a_mapping_stored_is_content() {
    truncate -s 1M "$D/mapped"
    [[ $(stat -c '%b' "$D/mapped") == 0 ]] # the kernel may keep that
    python3 - "$D/mapped" "$RACK_STATE/out" <<'END'
import mmap, os, subprocess, sys
name, out = sys.argv[1:]
fd = os.open(name, os.O_RDWR)
m = mmap.mmap(fd, 1 << 20)
m[500000:500005] = b"hello"
os.mkdir(out)
subprocess.run(f"tar -C {os.path.dirname(name)} -cSf - mapped | tar -C {out} -xf -", shell=True, check=True)
with open(out + "/mapped", "rb") as f:
    assert f.read() == m[:], "tar's copy differs"
END
    rm -r "$RACK_STATE/out"
    cmp -n 5 -i 500000:0 "$D/mapped" <(echo hello)
    truncate -s 0 "$D/mapped"
    truncate -s 1M "$D/mapped"
    within 5 blocks_are "$D/mapped" 0 # of a file that nobody maps it is the truth
    rm "$D/mapped"
}

blocks_are() {
    [[ $(stat -c %b "$1") == "$2" ]]
}

fio_verify() { # FIO OPTIONS...: random writes over the whole file, read again and checked
    fio --name=verify --filename="$D/fio" --size="$(long 256 24)M" --bsrange=4k-64k --rw=randwrite --verify=crc32c --verify_state_save=0 \
        --verify_fatal=1 --verify_backlog=256 --do_verify=1 --randrepeat=0 "$@" >"$RACK_STATE/fio.log" 2>&1 || {
        tail -n 30 "$RACK_STATE/fio.log"
        return 1
    }
    grep -q 'err= 0' "$RACK_STATE/fio.log"
    rm -f "$D/fio"
}

test_fio_buffered() {
    need fio
    fio_verify --ioengine=psync --fsync=64
    fio_verify --ioengine=psync --rw=write --bs=128k
}

test_fio_direct() {
    need fio
    fio_verify --ioengine=psync --direct=1 --bsrange=4k-128k
    fio_verify --ioengine=libaio --direct=1 --iodepth=8
}

test_fio_mapped() {
    need fio
    fio_verify --ioengine=mmap
    fio_verify --ioengine=mmap --fsync=32
}

# fio finds what is wrong: a byte behind its back.
test_fio_finds_a_wrong_byte() {
    need fio
    local job=(--name=v "--filename=$D/fio" --size=4M --bs=16k --rw=write --verify=crc32c
        --verify_fatal=1 --verify_state_save=0)
    fio "${job[@]}" --do_verify=0 >/dev/null
    fio "${job[@]}" --verify_only >/dev/null
    printf 'x' | dd of="$D/fio" bs=1 seek=2000000 conv=notrunc status=none
    ! fio "${job[@]}" --verify_only >/dev/null 2>&1
    rm "$D/fio"
}

# Each alone first said that it is good natively, too.
STRESSORS=(hdd dir dirdeep link symlink rename xattr flock lockf locka lockofd fcntl fallocate fstat seek sync-file touch
    utime copy-file chmod chown dentry open revio iomix access getdent lease filename readahead splice sendfile
    msync mmap fiemap acl chattr io unlink)

test_stress_ng() {
    need stress-ng
    local known words=() name
    known=$(stress-ng --stressors)
    for name in "${STRESSORS[@]}"; do
        [[ " $known " == *" $name "* ]] && words+=("--$name" 1)
    done
    mkdir "$D/stress"
    stress-ng "${words[@]}" --hdd-bytes 16M --fallocate-bytes 8M --mmap-bytes 16M --mmap-file --verify \
        --timeout "$(long 120 12)" --temp-path "$D/stress" >"$RACK_STATE/stress.log" 2>&1 || {
        grep -vE 'dispatching|setting to' "$RACK_STATE/stress.log" | tail -n 40
        return 1
    }
    rm -r "$D/stress"
}

# One writes, one reads all the time: no transaction is seen half, and none is lost.
test_a_database_under_writes() {
    need sqlite3
    local journal writer
    for journal in delete wal; do
        sqlite3 "$D/$journal.db" "pragma journal_mode=$journal" 'create table t(a integer primary key, b)' >/dev/null
        # shellcheck disable=SC2016
        timeout 60 bash -c 'for ((i = 0; i < $2; i++)); do
                sqlite3 -cmd ".timeout 20000" "$1" "begin immediate; insert into t(b) select randomblob(500)
                    from generate_series(1,10); update t set b=randomblob(700) where a % 7 = $i % 7; commit" || exit 1
            done' - "$D/$journal.db" "$(long 400 40)" &
        writer=$!
        while kill -0 "$writer" 2>/dev/null; do
            [[ $(sqlite3 -cmd ".timeout 20000" "$D/$journal.db" 'select count(*) % 10 from t') == 0 ]]
        done
        wait "$writer"
        [[ $(sqlite3 "$D/$journal.db" 'pragma integrity_check; select count(*) from t') == "ok
$(long 4000 400)" ]]
    done
    rm "$D"/*.db*
}
