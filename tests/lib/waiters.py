#!/usr/bin/env python3
"""Many writers of one control file that wait for their answers, and how long a look at the mount takes meanwhile.
    waiters.py COUNT VALUE FILE LOOK...
Starts COUNT threads that each write VALUE to FILE, waits until all are in the write, then does stat of each LOOK 100
times. Prints "waiting N", "stat median_us N p99_us N max_us N"; then the line "end" on stdin makes it end at once."""
import os
import sys
import threading
import time

count, value, name, looks = int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3], sys.argv[4:]
begun = threading.Semaphore(0)
answered = []


def write():
    fd = os.open(name, os.O_WRONLY)
    begun.release()
    try:
        os.write(fd, value)
        answered.append(0)
    except OSError as error:
        answered.append(error.errno)


threading.stack_size(256 << 10)
for _ in range(count):
    threading.Thread(target=write, daemon=True).start()
for _ in range(count):
    begun.acquire()
time.sleep(2)
print("waiting", count - len(answered), *sorted(set(answered)), flush=True)
times = []
for _ in range(100):
    for look in looks:
        start = time.monotonic_ns()
        os.stat(look)
        times.append((time.monotonic_ns() - start) // 1000)
times.sort()
print("stat median_us", times[len(times) // 2], "p99_us", times[len(times) * 99 // 100], "max_us", times[-1], flush=True)
sys.stdin.readline()
os._exit(0)
