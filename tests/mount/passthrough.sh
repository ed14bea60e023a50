#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# Passthrough: the content of source snapshots goes around the controller, and what it must know of changes it knows.
# The tests of what a user sees run without it, too.
file_setup() {
    need_fuse
    need_root
    rack_up
    snapshot web "/bin/busybox sleep 1000"
    blade_up 1
}
file_teardown() { blade_end 1; rack_down; }

libfuse_can() { # from 3.17 on
    local version
    version=$("$BLADEFS" --version | sed -n 's/.*libfuse 3\.\([0-9]*\).*/\1/p')
    ((version >= 17))
}

need_passthrough() {
    libfuse_can || skip "$("$BLADEFS" --version) has no passthrough"
}

stat_is() { # KEY VALUE, in /store/stats
    [[ $(awk -v key="$1" '$1 == key {print $2}' "$M/store/stats") == "$2" ]]
}

moved_bytes() { # what the controller has read and written
    awk '/^[rw]char/ {n += $2} END {print n}' "/proc/$(<"$RACK_STATE/bladefs.pid")/io"
}

test_stats_say_what_is_on() {
    if libfuse_can; then
        stat_is passthrough on
        stat_is splice off # there is nothing to splice
    else
        stat_is passthrough off
        stat_is splice on
    fi
    stat_is writeback off
    stat_is io_uring off
}

test_content_goes_around_the_controller() {
    need_passthrough
    local before after
    before=$(moved_bytes)
    dd if=/dev/urandom of="$M/snapshots/web/big" bs=1M count=64 status=none
    cp "$M/snapshots/web/big" "$RACK_STATE/big"
    python3 - "$M/snapshots/web/big" "$RACK_STATE/big" <<'END'
import mmap, sys
a, b = (open(name, "rb") for name in sys.argv[1:])
assert mmap.mmap(a.fileno(), 0, prot=mmap.PROT_READ)[:] == b.read()
END
    after=$(moved_bytes)
    ((after - before < 4 << 20)) || { echo "  $((after - before)) bytes passed through it"; return 1; }
    cmp "$STORE/snapshots/web/big" "$RACK_STATE/big"
    rm "$M/snapshots/web/big"
}

test_it_can_be_off() {
    blade_end 1
    rack_down
    rack_up -o nopassthrough
    stat_is passthrough off
    dd if=/dev/urandom of="$M/snapshots/web/big" bs=1M count=8 status=none
    cmp "$M/snapshots/web/big" "$STORE/snapshots/web/big"
    rm "$M/snapshots/web/big"
    rack_down
    rack_up
    blade_up 1
}

test_it_is_off_where_the_store_is_stacked() {
    local dir=$RACK_STATE/stacked
    mkdir -p "$dir"/{lower,upper,work,store,mnt}
    mount -t overlay -o "lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" none "$dir/store" ||
        skip "this kernel mounts no overlay here"
    "$BLADEFS" "$dir/store" "$dir/mnt" -f -o listen=127.0.0.1:0 2>"$dir/log" 3>&- &
    local pid=$!
    within 10 test -d "$dir/mnt/snapshots"
    mkdir "$dir/mnt/snapshots/a"
    echo content >"$dir/mnt/snapshots/a/file"
    [[ $(<"$dir/mnt/snapshots/a/file") == content ]]
    grep -q '^passthrough off$' "$dir/mnt/store/stats"
    kill "$pid"
    wait "$pid"
    umount "$dir/store"
}

test_a_file_that_is_open_for_writing_is_not_loaded() {
    echo 1 >"$M/snapshots/web/data"
    exec 5<>"$M/snapshots/web/data"
    fails_with "Text file busy" write_to "$M/blades/1/load" web
    [[ $(<"$M/blades/1/error") == *data* ]]
    exec 5>&-
    echo web >"$M/blades/1/load"
}

# A mapping outlives close, and under passthrough RELEASE too.
test_a_file_that_is_mapped_is_not_loaded_before_it_is_right() {
    truncate -s 4096 "$M/snapshots/web/mapped"
    coproc MAPPER { exec "$TESTS/lib/mapping.py" "$M/snapshots/web/mapped"; }
    local answer n started
    read -r answer <&"${MAPPER[0]}"
    [[ $answer == mapped ]]
    echo "put first" >&"${MAPPER[1]}"
    read -r answer <&"${MAPPER[0]}"
    fails_with "Text file busy" write_to "$M/blades/1/load" web
    [[ $(<"$M/blades/1/error") == *mapped* ]]
    # while a load waits for it, the last store is made and the mapping goes
    { echo web >"$M/blades/1/load"; } &
    sleep 0.5
    echo "put last!" >&"${MAPPER[1]}"
    read -r answer <&"${MAPPER[0]}"
    eval "exec ${MAPPER[1]}>&-"
    wait $!
    n=$(<"$M/blades/1/load")
    [[ $(head -c 5 "$M/running/$n/mapped") == last! ]]
    # and nothing is left of it: the next load has nothing to do
    started=$(date +%s%N)
    echo web >"$M/blades/1/load"
    (($(date +%s%N) - started < 2000000000))
    [[ $(<"$M/blades/1/load") == "$n" ]]
    rm "$M/snapshots/web/mapped"
}

test_many_short_mappings_leave_nothing_behind() {
    local fds
    mkdir "$M/snapshots/web/many"
    python3 - "$M/snapshots/web/many" <<'END'
import mmap, os, sys
for i in range(300):
    fd = os.open(f"{sys.argv[1]}/{i}", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 4096)
    area = mmap.mmap(fd, 4096)
    os.close(fd)
    area[0:4] = b"%4d" % i
    area.close()
END
    echo web >"$M/blades/1/load"
    [[ $(head -c 4 "$M/running/$(<"$M/blades/1/load")/many/299") == " 299" ]]
    rm -r "$M/snapshots/web/many"
    sync
    fds=$(find "/proc/$(<"$RACK_STATE/bladefs.pid")/fd" -lname '*/many/*' | wc -l)
    ((fds < 10)) || { echo "  $fds descriptors are left"; return 1; }
}

test_times_are_seen_as_they_change() {
    local file=$M/snapshots/web/times before after answer
    truncate -s 4096 "$file"
    touch -d '2001-02-03 04:05:06' "$file"
    before=$(stat -c %Y "$file")
    coproc MAPPER { exec "$TESTS/lib/mapping.py" "$file"; }
    read -r answer <&"${MAPPER[0]}"
    echo "put x" >&"${MAPPER[1]}"
    read -r answer <&"${MAPPER[0]}"
    eval "exec ${MAPPER[1]}>&-"
    wait "$MAPPER_PID" || true
    sync "$file"
    after=$(stat -c %Y "$file")
    [[ $after != "$before" && $after == "$(stat -c %Y "$STORE/snapshots/web/times")" ]]
    before=$(stat -c %y "$file")
    sleep 0.05
    echo more >>"$file"
    [[ $(stat -c %y "$file") != "$before" && $(stat -c %s "$file") == 4101 ]]
    rm "$file"
}

test_set_id_bits_and_capabilities_go_with_a_write() {
    set_id_bits_go
    blade_end 1
    rack_down
    rack_up -o nopassthrough
    set_id_bits_go
    rack_down
    rack_up
    blade_up 1
}

set_id_bits_go() {
    local file=$M/snapshots/web/tool
    chmod 755 "$M/snapshots" "$RACK_STATE"
    for how in write append truncate cut; do
        echo content >"$file"
        chown 4321:4321 "$file"
        setcap cap_net_raw+ep "$file"
        chmod 6775 "$file"
        [[ $(getcap "$file") == *cap_net_raw* ]]
        case $how in
            write) as_4321 "printf x 1<>'$file'" ;;
            append) as_4321 "echo x >>'$file'" ;;
            truncate) as_4321 "truncate -s 3 '$file'" ;;
            cut) as_4321 ": >'$file'" ;;
        esac
        [[ $(stat -c %a "$file") == 775 ]] || { echo "  $how left $(stat -c %a "$file")"; return 1; }
        [[ $(stat -c %a "$STORE/snapshots/web/tool") == 775 ]]
        [[ -z $(getcap "$file") ]]
    done
    # root keeps the bits
    chmod 6775 "$file"
    echo x >>"$file"
    [[ $(stat -c %a "$file") == 6775 ]]
    rm "$file"
    chmod 750 "$M/snapshots"
}

as_4321() {
    setpriv --reuid 4321 --regid 4321 --clear-groups bash -c "$1"
}
