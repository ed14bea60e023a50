#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# Many at once: processes, files, entries, slots. LONG=1: a million files, 100,000 in a directory, 10,000 slots.
file_setup() {
    need_fuse
    need_root
    rack_up
}
file_teardown() { rack_down; }

: "${LONG:=}"
if [[ $LONG ]]; then
    FILES=1000000 PER_DIR=1000 IN_ONE=100000 SLOTS=10000 ROUNDS=300
    TEST_TIMEOUT_S=1800
else
    FILES=10000 PER_DIR=500 IN_ONE=5000 SLOTS=1000 ROUNDS=20
fi

rss_kib() {
    awk '/^VmRSS/ {print $2}' "/proc/$(<"$RACK_STATE/bladefs.pid")/status"
}

took() { # WORDS COMMAND...: prints the time and sets TOOK_MS
    local words=$1 start
    shift
    start=$(date +%s%N)
    "$@" >/dev/null
    TOOK_MS=$((($(date +%s%N) - start) / 1000000))
    echo "$words: $TOOK_MS ms"
}

test_64_processes_work_in_one_snapshot() {
    mkdir "$M/snapshots/work"
    "$TESTS/lib/many.py" work "$M/snapshots/work" 64 "$ROUNDS"
    [[ -z $(ls -A "$STORE/snapshots/work") ]]
    rmdir "$M/snapshots/work"
}

test_files_of_a_large_snapshot_cost_little_memory() {
    local before after
    mkdir "$M/snapshots/large"
    before=$(rss_kib)
    "$TESTS/lib/many.py" fill "$M/snapshots/large" "$FILES" "$PER_DIR"
    [[ $(find "$M/snapshots/large" -type f | wc -l) == "$FILES" ]]
    after=$(rss_kib)
    echo "$FILES files: $(((after - before) * 1024 / FILES)) bytes each"
    # what the kernel has forgotten is forgotten here, too
    [[ ! -w /proc/sys/vm/drop_caches ]] || { sync && echo 2 >/proc/sys/vm/drop_caches && sleep 1; }
    [[ $(find "$M/snapshots/large" -type f | wc -l) == "$FILES" ]]
    rm -r "$M/snapshots/large"
    ((after - before < FILES + 65536)) # 1 KiB each, and what a sanitizer wants
}

test_a_large_directory() {
    mkdir "$M/snapshots/one"
    "$TESTS/lib/many.py" fill "$M/snapshots/one" "$IN_ONE" "$IN_ONE"
    took "ls of $IN_ONE" ls "$M/snapshots/one/0"
    took "ls -l" ls -l "$M/snapshots/one/0"
    took "find -ls" find "$M/snapshots/one/0" -ls
    [[ $(find "$M/snapshots/one/0" -type f | wc -l) == "$IN_ONE" ]]
    took "rm -r" rm -r "$M/snapshots/one"
}

# Files, slots, states: what stays is listed once, always, whatever comes and goes beside it.
test_listings_are_stable_under_changes() {
    mkdir "$M/snapshots/list"
    (cd "$M/snapshots/list" && for i in {0..999}; do : >"stay$i"; done)
    "$TESTS/lib/many.py" stable "$M/snapshots/list" 1000 "cd '$M/snapshots/list' && for i in {1..12}; do
        touch come{0..99}; for k in {0..49}; do mv come\$k went\$k; done; rm come* went*; done"
    rm -r "$M/snapshots/list"
    mkdir "$M/blades/"stay{0..199}
    for dir in blades state/absent; do
        "$TESTS/lib/many.py" stable "$M/$dir" 200 "cd '$M/blades' && for i in {1..10}; do
            mkdir come{0..29}; for k in {0..9}; do mv come\$k went\$k; done; rmdir come* went*; done"
    done
    rmdir "$M/blades/"stay*
}

# Where one reader stopped nobody else goes on with what was read before a change.
test_a_new_reader_sees_nothing_old() {
    mkdir "$M/snapshots/half"
    python3 - "$M/snapshots/half" <<'END'
import os, sys
top = sys.argv[1]
for i in range(3000):
    os.close(os.open(f"{top}/stay{i}", os.O_CREAT))
for turn in range(20):
    os.close(os.open(f"{top}/come{turn}", os.O_CREAT)) # what the kernel kept is not good any more
    order = os.listdir(top)
    os.unlink(f"{top}/come{turn}")
    half = os.scandir(top)
    next(half)
    moved = [name for name in order if name.startswith("stay")][turn::20]
    for name in moved:
        os.rename(f"{top}/{name}", f"{top}/went-{name}")
    later = os.scandir(top)
    seen = [next(later).name]
    assert len(os.listdir(top)) == 3000
    seen += [entry.name for entry in later]
    old = set(seen) & set(moved)
    assert not old, f"{len(old)} names that are gone: {sorted(old)[:3]}"
    assert len(seen) == len(set(seen)) == 3000, f"{len(seen)} names"
    for name in moved:
        os.rename(f"{top}/went-{name}", f"{top}/{name}")
    half.close()
for i in range(3000):
    os.unlink(f"{top}/stay{i}")
END
    rmdir "$M/snapshots/half"
}

# The next look sees a change, by an open directory as by a path.
test_listings_show_a_change_at_once() {
    python3 - "$M" <<'END'
import os, sys
top = sys.argv[1]
blades = os.open(top + "/blades", os.O_RDONLY)
absent = os.open(top + "/state/absent", os.O_RDONLY)
def see(name):
    return [name in os.listdir(d) for d in (blades, absent, top + "/blades", top + "/state/absent")]
for i in range(60):
    a, b = f"now{i}", f"then{i}"
    os.mkdir(f"{top}/blades/{a}")
    assert all(see(a)), ("made", see(a))
    os.rename(f"{top}/blades/{a}", f"{top}/blades/{b}")
    assert all(see(b)) and not any(see(a)), ("renamed", see(a), see(b))
    os.rmdir(f"{top}/blades/{b}")
    assert not any(see(b)), ("removed", see(b))
os.mkdir(top + "/snapshots/dir")
inside = os.open(top + "/snapshots/dir", os.O_RDONLY)
for i in range(60):
    name = f"{top}/snapshots/dir/{i}"
    os.close(os.open(name, os.O_CREAT))
    assert str(i) in os.listdir(inside) and str(i) in os.listdir(top + "/snapshots/dir")
    os.unlink(name)
    assert os.listdir(inside) == [] == os.listdir(top + "/snapshots/dir")
os.rmdir(top + "/snapshots/dir")
assert "dir" not in os.listdir(top + "/snapshots")
END
}

test_slots_by_the_thousand() {
    local best_ls=999999 best_status=999999
    took "mkdir of $SLOTS" python3 -c "
import os, sys
for i in range($SLOTS): os.mkdir(f'$M/blades/many{i}')"
    for _ in 1 2 3; do
        took "ls blades" ls "$M/blades"
        ((TOOK_MS >= best_ls)) || best_ls=$TOOK_MS
        took "cat status" cat "$M/status"
        ((TOOK_MS >= best_status)) || best_status=$TOOK_MS
    done
    took "ls -l blades" ls -l "$M/blades"
    took "ls state/*" ls "$M"/state/*
    [[ $(wc -l <"$M/status") == $((SLOTS + 1)) && $(find "$M/state/absent" -name 'many*' | wc -l) == "$SLOTS" ]]
    took "stop" rack_down
    took "start" rack_up
    [[ $(find "$M/blades" -maxdepth 1 -name 'many*' | wc -l) == "$SLOTS" ]]
    took "rmdir of $SLOTS" rmdir "$M/blades/"many*
    ((best_ls < 50)) || { echo "ls blades took $best_ls ms"; return 1; }
    ((best_status < 100)) || { echo "cat status took $best_status ms"; return 1; }
}
