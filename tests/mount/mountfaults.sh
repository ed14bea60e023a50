#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# What breaks under the mount: the controller is killed, the disk below it is full, read-only or broken, it is unmounted
# in use, it is told to end.
# shellcheck disable=SC2016  # scripts for a shell of their own
file_setup() {
    need_fuse
    need_root
    rack_up
    blade_up 1
    snapshot nap '/bin/sleep 1000'
    snapshot other '/bin/sleep 1001'
    echo nap >"$M/blades/1/load"
}
file_teardown() {
    fresh
    blade_end 1
    rack_down
}

GONE="Transport endpoint is not connected"

# kill -9 and nothing else: the mount stays behind, dead.
kill_it() {
    end_pid KILL "$RACK_STATE/bladefs.pid"
    fails_with "$GONE" ls "$M"
}

# Starts it again in the one command that README names.
again() {
    rack_up -o remount_stale
    [[ $(findmnt -no TARGET --mountpoint "$M" | wc -l) == 1 ]]
    within 20 blade_is_connected 1
}

# A second store and mount point, of nobody's but the test's, as a daemon.
S2=$RACK_STATE/store2
D2=$RACK_STATE/mnt2
second() { # bladefs options
    mkdir -p "$D2" 2>/dev/null || findmnt --mountpoint "$D2" >/dev/null
    timeout 60 "$BLADEFS" "$S2" "$D2" -o listen=127.0.0.1:0 "$@" && second_pid >"$RACK_STATE/second.pid"
}
second_pid() {
    head -n 1 "$S2/lock"
}
second_end() {
    umount "$D2"
    rm -rf "$S2" "$S2.log"
}

# Takes away what a test that failed has left of the second, so that the next one can begin.
fresh() {
    local pid
    pid=$(cat "$RACK_STATE/second.pid" 2>/dev/null) || true
    while findmnt --mountpoint "$D2" >/dev/null; do umount -l "$D2"; done
    if [[ -n $pid ]] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q " $S2 "; then
        kill -KILL "$pid" || true
        within 5 process_gone "$pid"
    fi
    while findmnt --mountpoint "$S2" >/dev/null; do umount -l "$S2"; done
    rm -rf "$S2" "$S2.log" "$RACK_STATE/disk"
}

refused() { # WORDS COMMAND...: exit 1 and one line with the words
    local words=$1 result=0
    shift
    "$@" 2>"$RACK_STATE/refusal" || result=$?
    [[ $result == 1 && $(wc -l <"$RACK_STATE/refusal") == 1 ]] && grep -q -- "$words" "$RACK_STATE/refusal" && return 0
    echo "  exit $result, expected 1 and one line with «$words»:"
    cat "$RACK_STATE/refusal"
    return 1
}

# ---- kill -9 ----

test_10_killed_while_files_are_made_and_renamed() {
    local round
    mkdir -p "$M/snapshots/acked"
    for round in 1 2 3; do
        mkdir "$M/snapshots/acked/$round"
        python3 "$TESTS/lib/acked.py" write "$M/snapshots/acked/$round" "$RACK_STATE/acked.$round" &
        within 20 grep -q "made $((round * 60))\$" "$RACK_STATE/acked.$round"
        kill_it
        wait "$!"
        python3 "$TESTS/lib/acked.py" check "$STORE/snapshots/acked/$round" "$RACK_STATE/acked.$round"
        again
        python3 "$TESTS/lib/acked.py" check "$M/snapshots/acked/$round" "$RACK_STATE/acked.$round"
        rsync -aHAXSn --delete --itemize-changes "$STORE/snapshots/acked/" "$M/snapshots/acked/" >"$RACK_STATE/diff"
        [[ ! -s $RACK_STATE/diff ]] || { cat "$RACK_STATE/diff"; return 1; }
    done
    rm -r "$M/snapshots/acked"
}

test_11_killed_in_the_middle_of_cp() {
    mkdir "$RACK_STATE/tree" "$M/snapshots/copy"
    local i
    for i in $(seq 1 3000); do echo "$i" >"$RACK_STATE/tree/$i"; done
    head -c 50000000 /dev/urandom >"$RACK_STATE/tree/zz"
    cp -av "$RACK_STATE/tree" "$M/snapshots/copy/" >"$RACK_STATE/cp.out" 2>"$RACK_STATE/cp.err" &
    within 20 grep -q "tree/.*/1500'" "$RACK_STATE/cp.out"
    kill_it
    ! wait "$!"
    grep -q -e "$GONE" -e "Software caused connection abort" "$RACK_STATE/cp.err"
    again
    # what cp did not complain of is whole
    python3 -c '
import re, sys
complaints = set(re.findall("[^\x27]*/tree/[0-9z]+", open(sys.argv[2]).read()))
whole = 0
for line in open(sys.argv[1]):
    pair = re.fullmatch("\x27(.*/tree/[0-9z]+)\x27 -> \x27(.*)\x27\n", line)
    if pair and pair[2] not in complaints:
        assert open(pair[1], "rb").read() == open(pair[2], "rb").read(), pair[2]
        whole += 1
assert whole > 1000, whole' "$RACK_STATE/cp.out" "$RACK_STATE/cp.err"
    rm -r "$M/snapshots/copy"
    mkdir "$M/snapshots/copy"
    cp -a "$RACK_STATE/tree/." "$M/snapshots/copy/"
    diff -r "$RACK_STATE/tree" "$M/snapshots/copy"
    rm -r "$M/snapshots/copy" "$RACK_STATE/tree"
}

test_12_killed_while_a_snapshot_is_renamed() {
    local round
    mkdir "$M/snapshots/here"
    echo x >"$M/snapshots/here/f"
    echo /bin/true >"$M/snapshots/here/.bladefs/exec"
    for round in 1 2; do
        (while mv -T "$M/snapshots/here" "$M/snapshots/there" && mv -T "$M/snapshots/there" "$M/snapshots/here"; do :; done) 2>/dev/null &
        sleep 0.$round
        kill_it
        wait "$!" || true
        again
        [[ $(find "$M/snapshots" -mindepth 1 -maxdepth 1 -name '*here' | wc -l) == 1 ]]
        [[ -d $M/snapshots/here ]] || mv "$M/snapshots/there" "$M/snapshots/here"
        [[ $(<"$M/snapshots/here/f") == x && $(<"$M/snapshots/here/.bladefs/exec") == /bin/true ]]
    done
    rm -r "$M/snapshots/here"
}

test_13_killed_in_a_load() {
    local after writer
    mkdir "$M/snapshots/big"
    cp -a "$RACK_STATE/root-nap/." "$M/snapshots/big/"
    echo '/bin/sleep 1002' >"$M/snapshots/big/.bladefs/exec"
    for after in 0.02 0.2 0.5; do
        echo nap >"$M/blades/1/load"
        head -c 60000000 /dev/urandom >"$M/snapshots/big/blob"
        (LC_ALL=C bash -c "echo big >'$M/blades/1/load'" 2>"$RACK_STATE/load.err") &
        writer=$!
        sleep "$after"
        kill_it
        if ! wait "$writer"; then # else it was faster
            grep -q -e "$GONE" -e "Software caused connection abort" "$RACK_STATE/load.err" || { cat "$RACK_STATE/load.err"; return 1; }
        fi
        again
        # true: what runs is what it says, and is one of the two; nothing is for ever on its way
        within 20 state_is 1 running
        case $(<"$M/blades/1/load") in
            nap@*) pgrep -f '^/bin/sleep 1000' >/dev/null ;;
            big@*) pgrep -f '^/bin/sleep 1002' >/dev/null ;;
            *) cat "$M/status"; return 1 ;;
        esac
        # no half of a running snapshot is listed
        find "$M/running" -type f -exec cat {} + >/dev/null
        [[ -z $(find "$M/running" -maxdepth 1 -name 'big@*' -not -exec test -e '{}/blob' ';' -print) ]]
    done
    echo big >"$M/blades/1/load"
    [[ $(<"$M/blades/1/load") == big@* && -z $(<"$M/blades/1/error") ]]
    echo nap >"$M/blades/1/load"
    rm -r "$M/snapshots/big"
}

test_14_who_had_a_file_open_before_is_not_overlooked() {
    local signal
    mkdir "$M/snapshots/held"
    cp -a "$RACK_STATE/root-nap/." "$M/snapshots/held/"
    echo '/bin/sleep 1005' >"$M/snapshots/held/.bladefs/exec"
    for signal in KILL TERM; do
        exec 7>>"$M/snapshots/held/notes"
        echo "before $signal" >&7
        end_pid "$signal" "$RACK_STATE/bladefs.pid"
        again 7>&-
        if (echo "after $signal" >&7) 2>/dev/null; then # passthrough: it writes on, and nobody is told
            fails_with "Text file busy" write_to "$M/blades/1/load" held
            grep -q 'held: notes is open for writing' "$M/blades/1/error"
        fi
        exec 7>&- || true
        echo held >"$M/blades/1/load"
        diff -r "$M/snapshots/held" "$M/blades/1/image"
        cmp "$STORE/snapshots/held/notes" "$M/blades/1/image/notes"
    done
    echo nap >"$M/blades/1/load"
    rm -r "$M/snapshots/held"
}

# ---- a mount point that stayed behind ----

test_20_a_stale_mount_is_told_and_taken_over_only_when_that_is_said() {
    fresh
    second
    mkdir "$D2/snapshots/kept"
    exec 7>"$D2/snapshots/kept/open"
    kill -KILL "$(second_pid)"
    within 5 fails_with "$GONE" ls "$D2"
    refused "-o remount_stale" second
    fails_with "$GONE" ls "$D2" # it was left as it is
    (cd "$RACK_STATE" && refused "-o remount_stale" timeout 20 "$BLADEFS" "$S2" mnt2/ -o listen=127.0.0.1:0)
    refused "below a mount whose program died" timeout 20 "$BLADEFS" "$S2" "$D2/snapshots" -o listen=127.0.0.1:0,remount_stale
    second -o remount_stale 2>"$RACK_STATE/said"
    grep -q "$D2 was mounted by a bladefs that died: taken over" "$RACK_STATE/said"
    [[ -d $D2/snapshots/kept && $(findmnt -no TARGET --mountpoint "$D2" | wc -l) == 1 ]]
    fails_with "$GONE" chmod 600 /dev/fd/7 # who had it open has the old one
    exec 7>&-
    umount "$D2"
    second -o remount_stale # where nothing is stale it makes no difference
    second_end
}

test_21_a_mount_that_is_alive_is_left_alone() {
    fresh
    second
    refused "mounted on $D2 already" timeout 20 "$BLADEFS" "$RACK_STATE/store3" "$D2" -o listen=127.0.0.1:0,remount_stale
    refused "mounted on $D2 already" second -o remount_stale
    [[ ! -e $RACK_STATE/store3 && -d $D2/blades ]]
    # what another store's controller left behind is taken away only with one's own store in hand
    refused "in use by another controller" timeout 20 "$BLADEFS" "$STORE" "$D2.none" -o listen=127.0.0.1:0,remount_stale || mkdir "$D2.none"
    kill -KILL "$(second_pid)"
    within 5 fails_with "$GONE" ls "$D2"
    refused "in use by another controller" timeout 20 "$BLADEFS" "$STORE" "$D2" -o listen=127.0.0.1:0,remount_stale
    fails_with "$GONE" ls "$D2"
    second_end
}

test_22_another_filesystem_is_never_taken_over() {
    fresh
    second -o subtype=elsefs # dead, and of another type
    kill -KILL "$(second_pid)"
    within 5 fails_with "$GONE" ls "$D2"
    refused "that was no bladefs (fuse.elsefs)" second -o remount_stale
    [[ $(findmnt -no FSTYPE --mountpoint "$D2") == fuse.elsefs ]]
    umount "$D2"
    mount -t tmpfs none "$D2"
    touch "$D2/somebody's"
    refused "not empty" second -o remount_stale
    [[ -e "$D2/somebody's" ]]
    umount "$D2"
    rm -rf "$S2"
}

# In a mount namespace where /dev/fuse is anybody's, as it is on most machines.
test_23_an_ordinary_user_takes_over_his_own() {
    [[ -u $(command -v fusermount3) ]] || skip "fusermount3 is not setuid root"
    mkdir -p "$RACK_STATE/home/mnt"
    chown -R 4321:4321 "$RACK_STATE/home"
    chmod 755 "$RACK_STATE"
    mknod -m 666 "$RACK_STATE/fuse" c 10 229
    # the build, and a libfuse of one's own, may be where he cannot look
    mkdir "$RACK_STATE/home/lib"
    cp "$BLADEFS" "$RACK_STATE/home/bladefs"
    ldd "$BLADEFS" | awk '/libfuse3/ {print $3}' | xargs -I{} cp -L {} "$RACK_STATE/home/lib/"
    export RACK_STATE
    { cat /etc/passwd && echo "somebody:x:4321:4321::/nowhere:/bin/sh"; } >"$RACK_STATE/passwd" # fusermount3 asks
    unshare -m --propagation private bash -eEuc '
        trap "echo line \$LINENO: \$BASH_COMMAND" ERR
        mount --bind "$RACK_STATE/passwd" /etc/passwd
        mount --bind "$RACK_STATE/fuse" /dev/fuse
        home=$RACK_STATE/home
        as_user() { LD_LIBRARY_PATH=$home/lib timeout 60 setpriv --reuid 4321 --regid 4321 --clear-groups "$@"; }
        as_user "$home/bladefs" "$home/store" "$home/mnt" -o listen=127.0.0.1:0
        as_user ls "$home/mnt/state" >/dev/null
        kill -KILL "$(head -n 1 "$home/store/lock")"
        ! as_user ls "$home/mnt" 2>/dev/null
        ! as_user "$home/bladefs" "$home/store" "$home/mnt" -o listen=127.0.0.1:0 2>"$home.err"
        grep -q "remount_stale" "$home.err"
        as_user "$home/bladefs" "$home/store" "$home/mnt" -o listen=127.0.0.1:0,remount_stale
        as_user ls "$home/mnt/state" >/dev/null
        [[ $(findmnt -no TARGET --mountpoint "$home/mnt" | wc -l) == 1 ]]
        as_user fusermount3 -u "$home/mnt"'
    chmod 700 "$RACK_STATE"
}

# ---- the disk ----

# Runs a function of this file in a mount namespace of its own: a namespace that somebody else makes meanwhile would
# keep a copy of the disk's mount, and with it the broken filesystem.
privately() { # FUNCTION; skips as it does
    unshare -m --propagation private bash "$TESTS/lib/harness.sh" --one "$TESTS/mount/mountfaults.sh" "$1"
}

# A store of its own on an ext4 on a loop device, and a controller on it.
disk_up() { # SIZE
    truncate -s "$1" "$RACK_STATE/disk"
    mkfs.ext4 -q -F -E root_owner=0:0 "$RACK_STATE/disk"
    mkdir -p "$S2"
    mount -o loop,errors=remount-ro "$RACK_STATE/disk" "$S2" 2>"$RACK_STATE/err" || skip "no loop device: $(tail -n 1 "$RACK_STATE/err")"
    second
}
disk_device() {
    basename "$(findmnt -no SOURCE --mountpoint "$S2")"
}
disk_off() { # MOUNTPOINT: and the filesystem has ended, too
    local device
    device=$(basename "$(findmnt -no SOURCE --mountpoint "$1")")
    within 10 umount "$1"
    within 10 test ! -e "/sys/fs/ext4/$device"
}
disk_down() {
    umount "$D2"
    disk_off "$S2"
    rm -f "$RACK_STATE/disk"
}
# All that a reader asks for goes on.
reading_goes_on() {
    timeout 10 ls -R "$D2/blades" "$D2/state" "$D2/store" >/dev/null
    timeout 10 cat "$D2/status" "$D2/store/stats" "$D2/blades/1/state" >/dev/null
    timeout 10 df "$D2" >/dev/null
}
ioctl_shutdown() { # EXT4_IOC_SHUTDOWN, without writing the journal: as after a power loss, all is EIO
    python3 -c 'import fcntl, os, struct, sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))' "$S2"
}

full_disk() {
    disk_up 40M
    mkdir -p "$D2/snapshots/fat" "$D2/blades/1"
    fails_with "No space left on device" dd if=/dev/zero of="$D2/snapshots/fat/a" bs=64k count=2000
    fails_with "No space left on device" bash -c "while :; do head -c 4096 /dev/urandom >>'$D2/snapshots/fat/b' || exit 1; done"
    (($(df --output=avail "$D2" | tail -n 1) < 100))
    reading_goes_on
    cat "$D2/snapshots/fat/b" >/dev/null
    rm "$D2/snapshots/fat/a"
    echo x >"$D2/snapshots/fat/c"
    mkdir "$D2/blades/2" "$D2/snapshots/more"
    umount "$D2"
    second
    [[ $(<"$D2/snapshots/fat/c") == x && -d $D2/blades/2 ]]
    disk_down
}
test_30_a_full_disk_is_enospc_and_nothing_else() {
    fresh
    privately full_disk
}

read_only_disk() {
    disk_up 40M
    mkdir -p "$D2/snapshots/x/dir" "$D2/blades/1"
    echo x >"$D2/snapshots/x/f"
    exec 7>>"$D2/snapshots/x/f"
    echo 1 >"/sys/fs/ext4/$(disk_device)/trigger_fs_error"
    local words="Read-only file system"
    fails_with "$words" bash -c 'echo y >&7'
    exec 7>&-
    fails_with "$words" write_to "$D2/snapshots/x/g" y
    fails_with "$words" mkdir "$D2/snapshots/y"
    fails_with "$words" rm "$D2/snapshots/x/f"
    fails_with "$words" mv "$D2/snapshots/x" "$D2/snapshots/z"
    fails_with "$words" chmod 600 "$D2/snapshots/x/f"
    fails_with "$words" write_to "$D2/snapshots/x/.bladefs/exec" /bin/true
    fails_with "$words" mkdir "$D2/blades/2"
    fails_with "$words" rmdir "$D2/blades/1"
    fails_with "$words" chmod 660 "$D2/blades/1/load"
    fails_with "$words" write_to "$D2/blades/1/key" new
    reading_goes_on
    [[ $(<"$D2/snapshots/x/f") == x && $(ls "$D2/snapshots") == x ]]
    disk_down
}
test_31_a_disk_that_goes_read_only_is_erofs() {
    fresh
    privately read_only_disk
}

broken_disk() {
    disk_up 40M
    mkdir -p "$D2/snapshots/x/dir" "$D2/blades/1"
    echo x >"$D2/snapshots/x/f"
    exec 7>>"$D2/snapshots/x/f"
    ioctl_shutdown
    local words="Input/output error"
    fails_with "$words" bash -c 'echo y >&7'
    exec 7>&- || true
    fails_with "$words" write_to "$D2/snapshots/x/g" y
    fails_with "$words" mkdir "$D2/snapshots/y"
    fails_with "$words" mv "$D2/snapshots/x" "$D2/snapshots/z"
    fails_with "$words" mkdir "$D2/blades/2"
    reading_goes_on
    disk_down
}
test_32_a_disk_that_returns_errors_is_eio() {
    fresh
    privately broken_disk
}

lost_power() {
    disk_up 100M
    mkdir -p "$D2/snapshots/acked" && sync -f "$D2"
    python3 "$TESTS/lib/acked.py" fsync "$D2/snapshots/acked" "$RACK_STATE/acked" &
    within 30 grep -q "made 100\$" "$RACK_STATE/acked"
    ioctl_shutdown
    wait "$!"
    umount "$D2"
    disk_off "$S2"
    mount -o loop "$RACK_STATE/disk" "$S2"
    second
    python3 "$TESTS/lib/acked.py" check "$D2/snapshots/acked" "$RACK_STATE/acked"
    disk_down
}
test_33_what_fsync_acknowledged_outlives_the_power() {
    fresh
    privately lost_power
}

late_fault() {
    # a sparse disk on a small tmpfs: when that is full, the disk cannot write any more
    mkdir -p "$RACK_STATE/small"
    mount -t tmpfs -o size=12M none "$RACK_STATE/small"
    truncate -s 100M "$RACK_STATE/small/disk"
    mkfs.ext4 -q -F -E lazy_itable_init=1,nodiscard -O ^has_journal "$RACK_STATE/small/disk"
    mkdir -p "$S2"
    mount -o loop "$RACK_STATE/small/disk" "$S2" 2>"$RACK_STATE/err" || skip "no loop device: $(tail -n 1 "$RACK_STATE/err")"
    second
    mkdir "$D2/snapshots/x" "$D2/blades/1"
    fails_with "fsync failed" dd if=/dev/urandom of="$D2/snapshots/x/f" bs=1M count=30 conv=fsync
    reading_goes_on
    disk_down
    within 10 umount "$RACK_STATE/small"
}
test_34_a_write_that_fails_later_is_told_at_fsync() {
    fresh
    privately late_fault
}

# ---- umount ----

test_40_a_busy_mount_is_busy() {
    fresh
    second
    mkdir "$D2/snapshots/x"
    exec 7>"$D2/snapshots/x/f"
    fails_with "target is busy" umount "$D2"
    fails_with "busy" fusermount3 -u "$D2"
    echo still >&7
    [[ $(<"$D2/snapshots/x/f") == still ]]
    exec 7>&-
    umount "$D2"
    [[ -z $(findmnt -no TARGET --mountpoint "$D2") ]]
    second
    fusermount3 -u "$D2"
    second # at once
    second_end
}

test_41_a_lazy_umount_ends_with_its_last_user() {
    fresh
    local pid
    second
    pid=$(second_pid)
    mkdir "$D2/snapshots/x"
    exec 7>"$D2/snapshots/x/f"
    umount -l "$D2"
    [[ -z $(ls "$D2") ]]
    echo still >&7
    sleep 0.5
    kill -0 "$pid"
    [[ $(<"$S2/snapshots/x/f") == still ]]
    refused "in use by another controller" second
    exec 7>&-
    within 10 process_gone "$pid"
    second
    second_end
}

test_42_a_forced_umount_in_use_ends_it() {
    local pid
    fresh
    second
    pid=$(second_pid)
    mkdir "$D2/snapshots/x"
    exec 7>"$D2/snapshots/x/f"
    umount -f "$D2" 2>/dev/null || true # the kernel cuts the connection, and busy is what it stays
    within 10 process_gone "$pid"
    fails_with "$GONE" ls "$D2"
    second -o remount_stale
    [[ -e $D2/snapshots/x/f ]]
    exec 7>&-
    second_end
}

# ---- signals ----

# PID's exit status is 0 within seconds; for what this shell started.
ends_well() { # PID SECONDS
    within "$2" process_gone "$1"
    wait "$1"
}

second_foreground() { # sets FOREGROUND, its pid
    mkdir -p "$D2"
    "$BLADEFS" "$S2" "$D2" -f -o listen=127.0.0.1:0 2>"$RACK_STATE/second.log" 3>&- &
    FOREGROUND=$!
    within 20 test -d "$D2/blades"
}

test_50_signals_end_it_well_also_in_use() {
    fresh
    local signal
    for signal in TERM INT HUP; do
        second_foreground
        mkdir -p "$D2/snapshots/x"
        exec 7>"$D2/snapshots/x/f"
        echo "before $signal" >&7
        kill "-$signal" "$FOREGROUND"
        kill "-$signal" "$FOREGROUND" # twice is not worse
        ends_well "$FOREGROUND" 10
        [[ -z $(findmnt -no TARGET --mountpoint "$D2") ]]
        fails_with "$GONE" chmod 600 /dev/fd/7
        exec 7>&- || true
        [[ $(<"$S2/snapshots/x/f") == "before $signal" ]]
    done
    rm -rf "$S2"
}

test_51_what_was_mapped_is_written() {
    fresh
    second_foreground
    mkdir -p "$D2/snapshots/x"
    truncate -s 1M "$D2/snapshots/x/f"
    python3 -c '
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 1 << 20)
for i in range(0, 1 << 20, 4096):
    m[i:i + 5] = b"store"
print("stored", flush=True)
time.sleep(20)' "$D2/snapshots/x/f" >"$RACK_STATE/mapper" &
    within 10 grep -q stored "$RACK_STATE/mapper"
    kill -TERM "$FOREGROUND"
    ends_well "$FOREGROUND" 10
    kill "$!"
    [[ $(grep -ao store "$S2/snapshots/x/f" | wc -l) == 256 ]]
    rm -rf "$S2"
}

load_is_streaming() {
    grep -Eq '^[1-9][0-9]?% ' "$M/blades/1/progress" && not grep -q '^100%' "$M/blades/1/progress"
}

# Ends the controller while loads wait; both waiters of one load are told the same, and the truth.
end_in_a_load() { # COMMAND...: what to wait for before
    local first second pid one=0 two=0 was
    head -c 200000000 /dev/urandom >"$M/snapshots/big/blob"
    was=$(<"$M/blades/1/load")
    (LC_ALL=C exec bash -c "echo big >'$M/blades/1/load'" 2>"$RACK_STATE/one.err") &
    first=$!
    (LC_ALL=C exec bash -c "echo big >'$M/blades/1/load'" 2>"$RACK_STATE/two.err") & # it joins
    second=$!
    within 10 "$@"
    pid=$(<"$RACK_STATE/bladefs.pid")
    kill -TERM "$pid"
    kill -INT "$pid"
    within 15 process_gone "$pid"
    wait "$first" || one=$?
    wait "$second" || two=$?
    rm "$RACK_STATE/bladefs.pid"
    not is_mounted
    rack_up
    within 20 state_is 1 running
    [[ $one == "$two" ]]
    if [[ $one == 0 ]]; then
        [[ $(<"$M/blades/1/load") == big@* && $(<"$M/blades/1/load") != "$was" ]]
        pgrep -f '^/bin/sleep 1002' >/dev/null
    else
        # who had not opened it yet finds the mount going or gone
        cat "$RACK_STATE/one.err" "$RACK_STATE/two.err"
        grep -q "Interrupted system call" "$RACK_STATE/one.err" "$RACK_STATE/two.err"
        not grep -qv -e "Interrupted system call" -e "Software caused connection abort" -e "$GONE" -e "No such file" \
            "$RACK_STATE/one.err" "$RACK_STATE/two.err"
        [[ $(<"$M/blades/1/load") == "$was" ]]
        pgrep -f '^/bin/sleep 1000' >/dev/null
    fi
    echo "  $* before the end: the loads ended with $one"
    LOAD_RESULT=$one
}

test_52_running_loads_end_with_the_truth() {
    local wait_s
    mkdir "$M/snapshots/big"
    cp -a "$RACK_STATE/root-nap/." "$M/snapshots/big/"
    echo '/bin/sleep 1002' >"$M/snapshots/big/.bladefs/exec"
    end_in_a_load load_is_streaming
    [[ $LOAD_RESULT != 0 ]]
    for wait_s in 0.3 0.6 0.9; do
        end_in_a_load sleep "$wait_s"
        echo nap >"$M/blades/1/load"
    done
    echo big >"$M/blades/1/load"
    echo nap >"$M/blades/1/load"
    rm -r "$M/snapshots/big"
}

# Outside, for what runs on a blade has a mount namespace that would keep the disk.
start_bad() { blade_start bad; }

loads_on_a_bad_disk() {
    local dev words
    truncate -s 60M "$RACK_STATE/disk"
    mkfs.ext4 -q -F "$RACK_STATE/disk"
    mkdir "$STORE"
    mount -o loop,errors=remount-ro "$RACK_STATE/disk" "$STORE" 2>"$RACK_STATE/err" || skip "no loop device: $(tail -n 1 "$RACK_STATE/err")"
    rack_up
    mkdir "$M/blades/bad"
    cat "$M/blades/bad/key" >"$(blade_dir bad).key"
    chmod 600 "$(blade_dir bad).key"
    nsenter -m -t "$OUTSIDE" bash "$TESTS/lib/harness.sh" --one "$TESTS/mount/mountfaults.sh" start_bad
    within 20 blade_is_connected bad
    snapshot nap '/bin/sleep 1003'
    snapshot other '/bin/sleep 1004'
    echo nap >"$M/blades/bad/load"
    words="No space left on device"
    head -c 100000000 /dev/urandom 2>/dev/null >"$M/snapshots/other/blob" || true
    fails_with "$words" write_to "$M/blades/bad/load" other
    grep -q "$words" "$M/blades/bad/error"
    state_is bad running
    rm "$M/snapshots/other/blob"
    within 5 write_to "$M/blades/bad/load" other # ext4 gives the room back a moment later
    echo nap >"$M/blades/bad/load"

    words="Read-only file system"
    echo changed >"$M/snapshots/other/changed"
    dev=$(basename "$(findmnt -no SOURCE --mountpoint "$STORE")")
    echo 1 >"/sys/fs/ext4/$dev/trigger_fs_error"
    fails_with "$words" write_to "$M/blades/bad/load" other
    grep -q "$words" "$M/blades/bad/error"
    grep -q "$words" "$M/status"
    fails_with "$words" write_to "$M/blades/bad/run" stop
    grep -q "$words" "$M/blades/bad/error"
    timeout 10 ls -lR "$M/blades" "$M/state" >/dev/null
    rack_down
    disk_off "$STORE"
    # and after the repair all is as it was
    e2fsck -fy "$RACK_STATE/disk" >/dev/null || (($? < 4))
    mount -o loop,errors=remount-ro "$RACK_STATE/disk" "$STORE"
    rack_up
    within 20 blade_is_connected bad
    echo nap >"$M/blades/bad/load"

    words="Input/output error"
    echo more >"$M/snapshots/other/changed"
    S2=$STORE ioctl_shutdown
    fails_with "$words" write_to "$M/blades/bad/load" other
    grep -q "$words" "$M/blades/bad/error"
    timeout 10 cat "$M/status" >/dev/null
    rack_down
    disk_off "$STORE"
    rm "$RACK_STATE/disk"
}
test_60_loads_name_the_disk() {
    local result=0
    rack_down
    mv "$STORE" "$STORE.kept"
    export OUTSIDE=$$
    privately loads_on_a_bad_disk || result=$?
    blade_end bad
    rmdir "$STORE"
    mv "$STORE.kept" "$STORE"
    rack_up
    ((result == 0)) || exit "$result"
    within 20 blade_is_connected 1
    echo nap >"$M/blades/1/load"
}
