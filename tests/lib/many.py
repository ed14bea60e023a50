#!/usr/bin/env python3
"""Many at once in one directory tree.
    many.py work DIR PROCESSES ROUNDS    PROCESSES processes make, write, read, link, rename, list and remove
    many.py fill DIR FILES PER_DIR       FILES empty files, PER_DIR in a directory; says how long each tenth took
    many.py stable DIR STABLE COMMAND    lists DIR, in which the names "stay<0..STABLE-1>" are all the time, again and
                                         again, while COMMAND (a shell's) runs: none may be missing or come twice
Ends with 1, and says why, when something is not as it must be."""
import collections
import ctypes
import ctypes.util
import os
import subprocess
import sys
import time

libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
libc.opendir.restype = ctypes.c_void_p
libc.opendir.argtypes = [ctypes.c_char_p]
libc.readdir.restype = ctypes.c_void_p
libc.readdir.argtypes = libc.closedir.argtypes = libc.rewinddir.argtypes = libc.telldir.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
NAME_AT = 19  # of d_name in struct dirent


def worker(directory, number, rounds):
    mine, shared = f"{directory}/{number}", f"{directory}/shared"
    os.mkdir(mine)
    for i in range(rounds):
        path, other, common = f"{mine}/a{i}", f"{mine}/b{i}", f"{shared}/{number}.{i}"
        content = os.urandom(1 + (number * 7919 + i * 104729) % 20000)
        with open(path, "wb") as file:
            file.write(content)
        os.link(path, common)
        os.rename(path, other)
        with open(common, "rb") as file:
            assert file.read() == content, f"{common} has other content"
        assert os.stat(other).st_nlink == 2
        with open(other, "r+b") as file:
            file.truncate(1)
        assert os.stat(common).st_size == 1, f"{common} has {os.stat(common).st_size} bytes"
        os.chmod(common, 0o600)
        assert os.stat(other).st_mode & 0o777 == 0o600
        assert f"{number}.{i}" in os.listdir(shared)
        os.unlink(common)
        assert not os.path.exists(common)
        if i % 3:
            os.unlink(other)
    assert len(os.listdir(mine)) == (rounds + 2) // 3
    for name in os.listdir(mine):
        os.unlink(f"{mine}/{name}")
    os.rmdir(mine)


def work(directory, processes, rounds):
    os.mkdir(f"{directory}/shared")
    children = []
    for number in range(processes):
        pid = os.fork()
        if pid == 0:
            try:
                worker(directory, number, rounds)
            except BaseException as error:  # the child must not go on in this program's place
                print(f"process {number}: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        children.append(pid)
    bad = [pid for pid in children if os.waitpid(pid, 0)[1] != 0]
    assert not bad, f"{len(bad)} of {processes} processes failed"
    assert os.listdir(f"{directory}/shared") == []
    os.rmdir(f"{directory}/shared")


def fill(directory, files, per_dir):
    tenths, start = [], time.monotonic()
    for i in range(files):
        if i % per_dir == 0:
            where = f"{directory}/{i // per_dir}"
            os.mkdir(where)
        os.close(os.open(f"{where}/{i}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        if (i + 1) % (files // 10) == 0:
            tenths.append(time.monotonic() - start)
            start = time.monotonic()
    print("tenths", *(f"{t:.2f}" for t in tenths), "s")
    # Nothing grows with what is there: generous, for a machine that does other things, too.
    assert sorted(tenths[5:])[2] < 3 * sorted(tenths[:5])[2] + 0.2, "the more there are, the slower"


def read_all(stream, seeks):
    names, places = [], []
    while True:
        place = libc.telldir(stream)
        entry = libc.readdir(stream)
        if not entry:
            break
        names.append(ctypes.string_at(entry + NAME_AT).decode())
        places.append(place)
        # Back to where it just was: the same entry comes again, and the listing goes on behind it.
        if seeks and len(names) % 37 == 0 and names[-1].startswith("stay"):
            libc.seekdir(stream, place)
            again = ctypes.string_at(libc.readdir(stream) + NAME_AT).decode()
            assert again == names[-1], f"after seekdir {again} came instead of {names[-1]}"
    return names


def stable(directory, count, command):
    wanted = {f"stay{i}" for i in range(count)}
    busy = subprocess.Popen(["bash", "-c", command])
    stream = libc.opendir(directory.encode())
    assert stream
    rounds = 0
    while busy.poll() is None or rounds < 3:
        for anew in (False, True):
            if anew:
                other = libc.opendir(directory.encode())
                names = read_all(other, rounds % 2)
                libc.closedir(other)
            else:
                libc.rewinddir(stream)
                names = read_all(stream, rounds % 2)
            seen = collections.Counter(names)
            lost = wanted - set(names)
            twice = [name for name, n in seen.items() if n > 1 and name in wanted]
            assert not lost and not twice, f"round {rounds}: lost {sorted(lost)[:5]}, twice {twice[:5]}"
        rounds += 1
    assert busy.returncode == 0, f"the command ended with {busy.returncode}"
    print("rounds", rounds)


if __name__ == "__main__":
    kind, where, *rest = sys.argv[1:]
    if kind == "work":
        work(where, int(rest[0]), int(rest[1]))
    elif kind == "fill":
        fill(where, int(rest[0]), int(rest[1]))
    else:
        stable(where, int(rest[0]), rest[1])
