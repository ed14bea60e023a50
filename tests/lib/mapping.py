#!/usr/bin/env python3
"""Maps a file of 4096 bytes or more, shared and writable, closes it, and stores what it is told.
    mapping.py FILE      then, a line each on stdin: "put TEXT" stores TEXT at the start; end of file unmaps.
Prints "mapped", and "done" after each store."""
import mmap
import os
import sys

fd = os.open(sys.argv[1], os.O_RDWR)
area = mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
os.close(fd)
# Python's mmap keeps a duplicate of the descriptor: it must go too.
for entry in os.listdir("/proc/self/fd"):
    number = int(entry)
    if number > 2:
        try:
            if os.readlink("/proc/self/fd/" + entry).endswith(os.path.basename(sys.argv[1])):
                os.close(number)
        except OSError:
            pass
print("mapped", flush=True)
for line in sys.stdin:
    text = line.rstrip("\n").removeprefix("put ").encode()
    area[0:len(text)] = text
    print("done", flush=True)
