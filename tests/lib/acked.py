#!/usr/bin/env python3
"""acked.py write|fsync DIR LOG: makes files in DIR for ever, and notes in LOG what the filesystem acknowledged.
acked.py check DIR LOG: everything noted is there, and nothing half done has a final name.

Each file is written under a temporary name, closed (fsync: and synced, with its directory) and renamed; every third is
made directly, every fifth is removed again. Ends by itself, with 0, when the filesystem goes away.
"""
import errno
import os
import sys

WHAT, DIR, LOG = sys.argv[1:4]
GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.EROFS)


def content(i):
    return (f"file {i} ".encode() * (i % 700 + 1))[: i % 5000 + 20]


def sync_dir():
    if WHAT == "fsync":
        fd = os.open(DIR, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(fd)
        os.close(fd)


def put(path, i):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    os.write(fd, content(i))
    if WHAT == "fsync":
        os.fsync(fd)
    os.close(fd)


def write():
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    i = 0
    try:
        while True:
            i += 1
            final = os.path.join(DIR, f"f{i}")
            if i % 3 == 0:
                put(final, i)
            else:
                put(final + ".new", i)
                os.rename(final + ".new", final)
            sync_dir()
            os.write(log, f"made {i}\n".encode())
            if i % 5 == 0:
                os.write(log, f"goes {i}\n".encode())
                os.unlink(final)
                sync_dir()
                os.write(log, f"gone {i}\n".encode())
    except OSError as e:
        if e.errno not in GONE:
            raise


def check():
    state = {}
    with open(LOG) as log:
        for line in log:
            word, i = line.split()
            state[int(i)] = word
    if len(state) < 20:
        sys.exit(f"only {len(state)} files were made")
    names = set(os.listdir(DIR))
    for i, word in state.items():
        path = os.path.join(DIR, f"f{i}")
        if word == "gone" and f"f{i}" in names:
            sys.exit(f"f{i} is back")
        if word == "made" and open(path, "rb").read() != content(i):
            sys.exit(f"f{i} is not what was written")
        if f"f{i}.new" in names:
            sys.exit(f"f{i} has its old name, too")
    last = max(state) + 1
    known = {f"f{i}" for i in state} | {f"f{last}", f"f{last}.new"}
    if names - known:
        sys.exit(f"unknown names: {sorted(names - known)}")
    if last % 3 and f"f{last}" in names and f"f{last}.new" not in names:
        if open(os.path.join(DIR, f"f{last}"), "rb").read() != content(last):
            sys.exit(f"f{last} was renamed before it was whole")
    print(f"{len(state)} files acknowledged, all are there")


write() if WHAT != "check" else check()
