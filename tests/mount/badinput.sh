#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# What bad input gets: the errno of DESIGN.md from a control file, or one clear line and exit 1 from the program.
file_setup() {
    need_fuse
    rack_up
    mkdir "$M/blades/1"
}
file_teardown() { rack_down; }

# Runs bladefs in the foreground; it must end by itself with 1 and one line on stderr that has the words.
refused() { # WORDS ARGS...
    local words=$1 result=0
    shift
    timeout 20 "$BLADEFS" "$@" >"$RACK_STATE/out" 2>"$RACK_STATE/refusal" || result=$?
    [[ $result == 1 && $(wc -l <"$RACK_STATE/refusal") == 1 ]] && grep -q "$words" "$RACK_STATE/refusal" && return 0
    echo "  exit $result, expected 1 and one line with «$words»:"
    cat "$RACK_STATE/refusal"
    return 1
}

bytes_to() { # FILE: what comes on stdin, in one write at offset 0
    python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
try:
    os.write(fd, sys.stdin.buffer.read())
except OSError as e:
    sys.exit(os.strerror(e.errno))' "$1"
}

test_values_that_cannot_be() {
    fails_with "Invalid argument" bytes_to "$M/blades/1/load" <<<$'web\ndb'
    printf 'we\0b' >"$RACK_STATE/nul"
    fails_with "Invalid argument" bytes_to "$M/blades/1/load" <"$RACK_STATE/nul"
    head -c 1048576 /dev/urandom >"$RACK_STATE/junk"
    fails_with "Invalid argument" bytes_to "$M/blades/1/load" <"$RACK_STATE/junk"
    fails_with "Invalid argument" bytes_to "$M/blades/1/load" <<<"../../etc"
    fails_with "Invalid argument" bytes_to "$M/blades/1/load" <<<"web@0"
    fails_with "Invalid argument" bytes_to "$M/blades/1/run" <<<"dance"
    fails_with "Invalid argument" bytes_to "$M/blades/1/unload" <<<"2"
}

test_a_write_at_another_offset() {
    python3 - "$M/blades/1/load" <<'P'
import errno, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
try:
    os.pwrite(fd, b"web\n", 3)
    raise SystemExit("it succeeded")
except OSError as e:
    assert e.errno == errno.EINVAL, e
assert os.write(fd, b"") == 0
P
}

test_what_does_not_exist() {
    fails_with "No such file or directory" write_to "$M/blades/1/load" nosuch
    grep -q 'no snapshots/nosuch' "$M/blades/1/error"
    fails_with "No such file or directory" write_to "$M/blades/1/load" nosuch@3
    grep -q 'no running/nosuch@3' "$M/blades/1/error"
    fails_with "No such file or directory" write_to "$M/blades/any/load" nosuch
    grep -q 'no snapshots/nosuch' "$M/blades/any/error"
    fails_with "No such file or directory" write_to "$M/blades/2/load" web
    fails_with "No such file or directory" cat "$M/running/web@1/f"
}

test_a_blade_that_is_not_there() {
    mkdir "$M/snapshots/web"
    fails_with "No such device or address" write_to "$M/blades/1/load" web
    fails_with "No such device or address" write_to "$M/blades/any/load" web
    fails_with "No such device or address" write_to "$M/blades/1/run" start
    [[ -n $(<"$M/blades/1/error") && -n $(<"$M/blades/any/error") ]]
    rmdir "$M/snapshots/web"
}

test_append_and_truncate_make_no_difference() {
    mkdir "$M/snapshots/web"
    fails_with "No such device or address" bash -c "echo web >>'$M/blades/1/load'"
    fails_with "No such device or address" bash -c "printf web >'$M/blades/1/load'"
    : >"$M/blades/1/load"
    rmdir "$M/snapshots/web"
}

test_slot_names() {
    fails_with "Invalid argument" mkdir "$M/blades/.x"
    fails_with "Invalid argument" mkdir "$M/blades/a b"
    fails_with "" mkdir "$M/blades/$(printf 'n%.0s' {1..300})"
    fails_with "" mkdir "$M/blades/$(printf 'n%.0s' {1..64})"
    fails_with "File exists" mkdir "$M/blades/1"
    mkdir "$M/blades/two"
    fails_with "File exists" bash -c "python3 -c \"import os;os.rename('$M/blades/two','$M/blades/1')\" 2>&1 | grep -o 'File exists' >&2; exit 1"
    fails_with "" mv -T "$M/blades/two" "$M/blades/any"
    rmdir "$M/blades/two"
    fails_with "" touch "$M/blades/file"
    fails_with "" rm "$M/blades/1/load"
    fails_with "" touch "$M/file"
    fails_with "" mkdir "$M/state/new"
}

test_a_store_in_use() {
    mkdir -p "$RACK_STATE/mnt2"
    refused "in use" "$STORE" "$RACK_STATE/mnt2" -f -o listen=127.0.0.1:0
}

test_a_port_in_use() {
    mkdir -p "$RACK_STATE/mnt2"
    refused "$PORT" "$RACK_STATE/store2" "$RACK_STATE/mnt2" -f -o "listen=127.0.0.1:$PORT"
}

test_mount_points_that_cannot_be() {
    mkdir -p "$RACK_STATE/full" "$RACK_STATE/mnt2"
    touch "$RACK_STATE/full/file"
    refused "not empty" "$RACK_STATE/store2" "$RACK_STATE/full" -f -o "listen=127.0.0.1:$(free_port)"
    refused "nowhere" "$RACK_STATE/store2" "$RACK_STATE/nowhere" -f -o "listen=127.0.0.1:$(free_port)"
    refused "not a directory" "$RACK_STATE/store2" "$RACK_STATE/full/file" -f -o "listen=127.0.0.1:$(free_port)"
}

test_arguments_that_cannot_be() {
    refused "" "$STORE"
    refused "" "$RACK_STATE/store2" "$RACK_STATE/mnt" extra -f
    mkdir -p "$RACK_STATE/mnt2"
    refused "listen" "$RACK_STATE/store2" "$RACK_STATE/mnt2" -f -o listen=nonsense
    "$BLADEFS" --help | grep -qi usage
    "$BLADEFS" --version | grep -q bladefs
}

test_a_directory_that_is_no_store() {
    mkdir -p "$RACK_STATE/other" "$RACK_STATE/mnt2"
    touch "$RACK_STATE/other/somebody's file"
    refused "" "$RACK_STATE/other" "$RACK_STATE/mnt2" -f -o "listen=127.0.0.1:$(free_port)"
    [[ $(ls "$RACK_STATE/other") == "somebody's file" ]]
}

test_a_store_of_a_newer_format() {
    rack_down
    cp -a "$STORE" "$RACK_STATE/newer"
    mkdir -p "$RACK_STATE/mnt2"
    echo "bladefs store 99" >"$RACK_STATE/newer/format"
    refused "newer" "$RACK_STATE/newer" "$RACK_STATE/mnt2" -f -o "listen=127.0.0.1:$(free_port)"
    rack_up
}

test_a_store_copied_elsewhere_opens() {
    mkdir -p "$M/snapshots/moved" && echo x >"$M/snapshots/moved/f"
    rack_down
    rsync -aHAXS "$STORE/" "$RACK_STATE/copied/"
    mv "$STORE" "$STORE.old" && mv "$RACK_STATE/copied" "$STORE"
    rack_up
    [[ $(<"$M/snapshots/moved/f") == x && -d $M/blades/1 ]]
    rm -r "$M/snapshots/moved" "$STORE.old"
}
