#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# File handles, as an NFS server keeps them, over dropped caches and restarts. Faults show only with a cold cache.
file_setup() {
    need_fuse
    need_root
    rack_up
    snapshot run "busybox sleep 100000"
    blade_up blade
    echo run >"$M/blades/blade/load" # a running snapshot, and the symlinks of a slot
    [[ -L $M/blades/blade/image && -L $M/blades/blade/source && -L $M/state/running/blade ]]
    mkdir -p "$M/blades/1" "$M/blades/2" "$M/snapshots/a/d/e/f" "$M/snapshots/b"
    echo x >"$M/snapshots/a/d/e/f/g"
    ln "$M/snapshots/a/d/e/f/g" "$M/snapshots/a/hardlink"
    ln -s nowhere "$M/snapshots/b/symlink"
    mkfifo "$M/snapshots/b/fifo"
    python3 "$TESTS/lib/handles.py" save "$RACK_STATE/handles" "$M"
}
file_teardown() {
    blade_end blade
    rack_down
}

# Those that are listed, and only they.
listings_are_right() {
    [[ $(ls -A "$M/blades") == "$1" && $(ls -A "$M/snapshots/a") == $'d\nhardlink' ]]
    [[ $(ls -A "$M/blades") == "$1" && $(ls -A "$M/snapshots/a") == $'d\nhardlink' ]] # what the kernel kept
}

cold() {
    sync
    echo 2 >/proc/sys/vm/drop_caches || skip "the caches cannot be dropped here"
}

test_1_handles_live_over_dropped_caches() {
    cold
    python3 "$TESTS/lib/handles.py" check "$RACK_STATE/handles" "$M"
    listings_are_right $'1\n2\nblade'
    # the kernel has the listing of the snapshot, and not the inode of what it does not show
    cold
    listings_are_right $'1\n2\nblade'
    python3 "$TESTS/lib/handles.py" check "$RACK_STATE/handles" "$M"
    listings_are_right $'1\n2\nblade'
}

test_2_handles_live_over_a_restart() {
    case $(stat -f -c %T "$STORE") in
        ext2/ext3 | xfs | btrfs) ;;
        *) skip "the store's file system has no handles that last" ;;
    esac
    rack_down
    cold
    rack_up
    within 20 state_is blade running
    cold
    python3 "$TESTS/lib/handles.py" check "$RACK_STATE/handles" "$M"
    cold
    # what was found by its number alone is the file, and can be written
    echo y >>"$M/snapshots/a/d/e/f/g"
    [[ $(<"$M/snapshots/a/hardlink") == $'x\ny' ]]
    listings_are_right $'1\n2\nblade'
}

test_3_what_is_gone_is_stale() {
    rm -r "$M/snapshots/b"
    rmdir "$M/blades/2"
    cold
    python3 "$TESTS/lib/handles.py" stale "$RACK_STATE/handles" "$M" "$M/snapshots/b"
    python3 "$TESTS/lib/handles.py" stale "$RACK_STATE/handles" "$M" "$M/blades/2"
    [[ -d $M/blades/1 ]]
}

test_4_a_forged_handle_opens_nothing_outside() {
    mkdir "$M/snapshots/in"
    echo open >"$M/snapshots/in/file"
    echo secret >"$STORE/outside"
    # The same file system, so its number is good there: but it is not below /snapshots.
    python3 - "$M" "$STORE" <<'P'
import array, ctypes, errno, fcntl, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
mount = os.open(sys.argv[1], os.O_RDONLY)
class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128)]
def forged(path):  # FILEID_INO64_GEN, as the kernel makes it for FUSE: node id, generation
    fd, version = os.open(path, os.O_RDONLY), array.array("l", [0])
    try:
        fcntl.ioctl(fd, 0x80087601, version, True)  # FS_IOC_GETVERSION
    except OSError:
        sys.exit(77)
    inode = os.fstat(fd).st_ino
    handle = Handle(size=12, type=0x81)
    handle.bytes[:12] = struct.pack("=III", inode >> 32, inode & 0xFFFFFFFF, version[0] & 0xFFFFFFFF)
    return libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY)
assert forged(sys.argv[2] + "/snapshots/in/file") >= 0, os.strerror(ctypes.get_errno())
for outside in "/outside", "":
    fd = forged(sys.argv[2] + outside)
    assert fd < 0 and ctypes.get_errno() == errno.ESTALE, (fd, ctypes.get_errno())
P
    rm -r "$M/snapshots/in" "$STORE/outside"
}

test_5_poll_wakes_who_waits_for_a_change() {
    mkdir -p "$M/snapshots/web"
    python3 - "$M" <<'P'
import os, select, sys, threading, time
mount = sys.argv[1]
fd = os.open(mount + "/blades/1/error", os.O_RDONLY)
os.pread(fd, 1000, 0)
poll = select.poll()
poll.register(fd, select.POLLPRI)
assert poll.poll(200) == []
def change():
    time.sleep(0.3)
    try:
        with open(mount + "/blades/1/load", "w") as load:
            load.write("web")
    except OSError:
        pass
thread = threading.Thread(target=change)
thread.start()
woken = poll.poll(10000)
thread.join()
assert woken and woken[0][1] & select.POLLPRI, woken
assert os.pread(fd, 1000, 0)
assert poll.poll(200) == []
P
    rmdir "$M/snapshots/web"
}
