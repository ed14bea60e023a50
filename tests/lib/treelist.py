#!/usr/bin/env python3
"""Prints a tree in full, one entry a line, so that two trees can be compared with diff: type, mode, owner, size, mtime
to the nanosecond, link groups, symlink target, device number, xattrs, holes and a digest of the content.
usage: treelist.py [--root-as-instance] DIR"""
import hashlib
import os
import stat
import sys


def extents(fd, size):
    """The runs of data, as (first, end)."""
    at, out = 0, []
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        at = os.lseek(fd, data, os.SEEK_HOLE)
        out.append((data, at))
    return out


def digest_of(fd, size, data):
    """Of the whole content; of a huge sparse file only what lies in its runs of data, with their places."""
    digest = hashlib.blake2b(digest_size=16)
    for first, end in data if size > 1 << 30 else [(0, size)]:
        digest.update(b"" if size <= 1 << 30 else b"%d-%d " % (first, end))
        while first < end and (piece := os.pread(fd, min(1 << 20, end - first), first)):
            digest.update(piece)
            first += len(piece)
    return digest.hexdigest()


def describe(path, name, groups, instance_root):
    st = os.lstat(path)
    kind = stat.S_IFMT(st.st_mode)
    mode, uid, gid = st.st_mode, st.st_uid, st.st_gid
    if name == "." and instance_root:
        mode, uid, gid = stat.S_IFDIR | 0o755, 0, 0
    words = [oct(mode), str(uid), str(gid), str(st.st_mtime_ns)]
    if not stat.S_ISDIR(st.st_mode):
        first = groups.setdefault((st.st_dev, st.st_ino), name)
        words += [f"links={st.st_nlink}", f"with={first}"]
    if kind == stat.S_IFLNK:
        words.append("-> " + os.readlink(path))
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        words.append(f"dev={os.major(st.st_rdev)}:{os.minor(st.st_rdev)}")
    if kind == stat.S_IFREG:
        fd = os.open(path, os.O_RDONLY)
        data = extents(fd, st.st_size)
        places = ",".join(f"{first}-{end}" for first, end in data)
        words += [f"size={st.st_size}", f"data={places}", digest_of(fd, st.st_size, data)]
        os.close(fd)
    for key in sorted(os.listxattr(path, follow_symlinks=False)):
        if key.startswith("trusted.overlay."):
            continue
        words.append(f"{key}={os.getxattr(path, key, follow_symlinks=False).hex()}")
    return " ".join(words)


def main():
    args = [a for a in sys.argv[1:] if a != "--root-as-instance"]
    instance_root = len(args) < len(sys.argv) - 1
    top, groups, todo, out = os.fsencode(args[0]), {}, [b"."], []
    while todo:
        here = todo.pop()
        for entry in [here] if here == b"." else []:
            out.append((entry, top))
        for name in sorted(os.listdir(os.path.join(top, here))):
            path = os.path.normpath(os.path.join(here, name))
            out.append((path, os.path.join(top, path)))
            if stat.S_ISDIR(os.lstat(os.path.join(top, path)).st_mode):
                todo.append(path)
    for name, path in sorted(out):
        print(repr(name), describe(os.fsdecode(path), os.fsdecode(name), groups, instance_root))


main()
