#!/usr/bin/env python3
"""poll.py select|poll|epoll FILE COMMAND: reads FILE, then COMMAND (a shell's) changes it.

Fails when the waiting call says that something changed before that, or does not say so within 10 s. A file that is
read on (log) is waited for as readable, all others as changed (POLLPRI), as a file of sysfs.
"""
import os
import select
import subprocess
import sys
import time

HOW, PATH, COMMAND = sys.argv[1:4]
STREAM = os.path.basename(PATH) == "log"
fd = os.open(PATH, os.O_RDONLY)


def read_all():
    at = os.lseek(fd, 0, os.SEEK_CUR) if STREAM else 0
    while True:
        part = os.pread(fd, 65536, at)
        at += len(part)
        if not part:
            break
    if STREAM:
        os.lseek(fd, at, os.SEEK_SET)
    return at


def wait(seconds):
    if HOW == "select":
        ready = select.select([fd] if STREAM else [], [], [] if STREAM else [fd], seconds)
        return bool(ready[0] or ready[2])
    wanted = select.POLLIN if STREAM else select.POLLPRI
    if HOW == "poll":
        poll = select.poll()
        poll.register(fd, wanted)
        got = poll.poll(seconds * 1000)
    else:
        epoll = select.epoll()
        epoll.register(fd, select.EPOLLIN if STREAM else select.EPOLLPRI)
        got = epoll.poll(seconds)
        epoll.close()
    return any(events & (wanted | select.POLLHUP) for _, events in got)


for _ in range(20):  # what happened before may still be on its way
    read_all()
    if not wait(0.2):
        break
else:
    sys.exit(f"{PATH}: {HOW} says all the time that it changed")
changer = subprocess.Popen(["sh", "-c", "sleep 0.2; " + COMMAND])
start = time.monotonic()
woken = wait(10)
took = time.monotonic() - start
if changer.wait() != 0:
    sys.exit(f"{COMMAND} failed")
if not woken or took > 9:  # at the end of its time it looks once more
    sys.exit(f"{PATH}: {HOW} did not wake")
if took < 0.15:
    sys.exit(f"{PATH}: {HOW} woke after {took:.2f} s, before anything changed")
print(f"{PATH}: {HOW} woke after {took:.2f} s")
