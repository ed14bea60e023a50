"""File handles of a mount, as an NFS server keeps them: name_to_handle_at(2), open_by_handle_at(2).

handles.py save LIST MOUNT    notes the handle and inode number of everything below MOUNT
handles.py check LIST MOUNT   opens each again: ends with 0 when all lead to the same inodes
handles.py stale LIST MOUNT PREFIX   of those whose path begins so, each must be stale; the others are not asked
"""
import ctypes
import errno
import os
import pickle
import sys

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100


class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128)]


def handle_of(path):
    handle, mount = Handle(size=128), ctypes.c_int()
    if libc.name_to_handle_at(AT_FDCWD, path.encode(), ctypes.byref(handle), ctypes.byref(mount), 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return handle.type, bytes(handle.bytes[: handle.size])


def opened(mount, kept):
    """The inode number that a kept handle leads to, or -errno."""
    handle = Handle(size=len(kept[1]), type=kept[0])
    handle.bytes[: len(kept[1])] = kept[1]
    fd = libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_PATH)
    if fd < 0:
        return -ctypes.get_errno()
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def main():
    verb, notes, mount = sys.argv[1:4]
    if verb == "save":
        paths = [mount] + [os.path.join(d, n) for d, ds, fs in os.walk(mount) for n in ds + fs]
        # What is there and not listed.
        hidden = [os.path.join(mount, "blades/any")]
        snapshots = os.path.join(mount, "snapshots")
        hidden += [os.path.join(snapshots, name, ".bladefs") for name in os.listdir(snapshots)]
        for directory in hidden:
            paths += [directory] + [os.path.join(directory, name) for name in os.listdir(directory)]
        with open(notes, "wb") as out:
            pickle.dump({p: (handle_of(p), os.lstat(p).st_ino) for p in paths}, out)
        return 0
    with open(notes, "rb") as kept:
        known = pickle.load(kept)
    root, bad = os.open(mount, os.O_RDONLY), 0
    # The deepest first: nothing above it was looked up yet.
    for path, (handle, inode) in sorted(known.items(), key=lambda item: -item[0].count("/")):
        if verb == "stale" and not path.startswith(sys.argv[4]):
            continue
        found, wanted = opened(root, handle), inode if verb == "check" else -errno.ESTALE
        if found != wanted:
            print(f"  {path}: {found}, expected {wanted}")
            bad += 1
    return 1 if bad else 0


sys.exit(main())
