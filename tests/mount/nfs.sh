#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# The mount over NFSv4: NFS-Ganesha as examples/nfs sets it up, and a client in user space.
. "$TESTS/lib/nfs.sh"

file_setup() {
    need_fuse
    need_root
    need_ganesha
    [[ -x $BUILD/tests/lib/nfs_client ]] || skip "the client was not built: there is no libnfs (libnfs-dev)"
    chmod 711 "$RACK_STATE"
    nfs_prepare
    rack_up
    snapshot web "busybox sleep 100000" "from here"
    blade_up 1
    mkdir "$M/blades/absent"
    nfs_up
}
file_teardown() {
    nfs_down
    blade_end 1
    rack_down
}

client() { # UID GID VERB...
    timeout 60 "$BUILD/tests/lib/nfs_client" "$NFS_PORT" /bladefs "$@"
}
member() { client 1000 "$NFS_GROUP" "$@"; }
stranger() { client 2000 2000 "$@"; }
client_root() { client 0 0 "$@"; }

# A member who stays: asked COMMAND...; ANSWER is what was said, RESULT the errno's name, or 0.
stay() {
    coproc STAYING { client 1000 "$NFS_GROUP"; }
}
asked() {
    local line
    ANSWER=
    echo "$*" >&"${STAYING[1]}"
    while read -r -t 60 line <&"${STAYING[0]}"; do
        [[ $line == "= "* ]] && break
        ANSWER+=$line
    done
    RESULT=${line#= }
}
expect() { # RESULT COMMAND...
    local wanted=$1
    shift
    asked "$@"
    [[ $RESULT == "$wanted" ]] || {
        echo "  $*: $RESULT, expected $wanted" >&2
        return 1
    }
}

need_lasting_handles() {
    case $(stat -f -c %T "$STORE") in
        ext2/ext3 | xfs | btrfs) ;;
        *) skip "the store's file system has no handles that last" ;;
    esac
}

cold() {
    sync
    echo 3 >/proc/sys/vm/drop_caches || skip "the caches cannot be dropped here"
}

test_1_a_snapshot_is_made_and_loaded() {
    local busybox
    busybox=$(command -v busybox)
    member mkdir /snapshots/made
    member mkdir /snapshots/made/bin
    member mkdir /snapshots/made/etc
    member put "$busybox" /snapshots/made/bin/busybox
    member chmod 755 /snapshots/made/bin/busybox
    member symlink busybox /snapshots/made/bin/sh
    member put /dev/null /snapshots/made/etc/empty
    member chmod 6750 /snapshots/made/etc/empty
    member mv /snapshots/made/etc/empty /snapshots/made/etc/nothing
    [[ $(member readlink /snapshots/made/bin/sh) == busybox ]]
    [[ $(member ls /snapshots/made | sort) == $'bin\netc' ]]
    # in the mount it is what the client made, and the client's
    cmp "$busybox" "$M/snapshots/made/bin/busybox"
    [[ $(stat -c '%a %u %g' "$M/snapshots/made/bin/busybox") == "755 1000 $NFS_GROUP" ]]
    [[ $(stat -c '%a %s' "$M/snapshots/made/etc/nothing") == "6750 0" ]]
    member write /snapshots/made/.bladefs/exec busybox sleep 100000
    [[ $(<"$M/snapshots/made/.bladefs/exec") == "busybox sleep 100000" ]]
    # at once: what the server still has open is waited for
    member write /blades/1/load made
    [[ $(member cat /blades/1/load) == made@1 && $(member cat /blades/1/state) == running ]]
    [[ $(member readlink /blades/1/image) == ../../running/made@1 ]]
    [[ -z $(member cat /blades/1/error) ]]
}

test_2_errors_arrive() {
    fails_with ENOENT member write /blades/1/load nosuch
    [[ $(member cat /blades/1/error) == *nosuch* ]]
    fails_with ENOENT member write /blades/1/load made@99
    fails_with ENOENT member write /blades/nosuch/load web
    fails_with EINVAL member write /blades/1/load made/bin
    fails_with EINVAL member write /blades/1/load $'made\nweb'
    fails_with ENXIO member write /blades/absent/load web
    fails_with ENXIO member write /blades/any/load web # the one that is there runs something
    fails_with EACCES member write /blades/1/state ready
    fails_with EROFS member mkdir /running/made@1/new
    fails_with EACCES member mkdir /blades/new
    fails_with ENOENT member cat /snapshots/nosuch/file
    [[ $(member cat /blades/1/state) == running ]]
}

test_3_another_load_is_under_way() {
    local first
    member mkdir /snapshots/third
    exec 4>>"$M/snapshots/web/www/index.html" # so that the load of web waits
    member write /blades/1/load web 4>&- &
    first=$!
    sleep 1
    fails_with EEXIST member write /blades/1/load third
    exec 4>&-
    wait "$first"
    [[ $(member cat /blades/1/load) == web@1 ]]
    # a file that stays open: the errno is none that NFS has, and not one that is tried again for ever
    exec 4>>"$M/snapshots/made/etc/nothing"
    echo more >&4
    fails_with EREMOTEIO member write /blades/1/load made
    exec 4>&-
    [[ $(member cat /blades/1/error) == *nothing*"open for writing"* ]]
    member write /blades/1/load made
}

test_4_every_control_file_reads_whole() {
    local name count=0
    for name in $(member ls /blades/1); do
        [[ -f $M/blades/1/$name && ! -L $M/blades/1/$name && $name != key ]] || continue
        (($(stat -c %#a "$M/blades/1/$name") & 0444)) || continue
        member cat "/blades/1/$name" >"$RACK_STATE/read" || { echo "  $name" >&2; return 1; }
        count=$((count + 1))
    done
    ((count >= 6))
    for name in status store/stats blades/any/load blades/any/error snapshots/made/.bladefs/{exec,stats} blades/1/{load,state,error}; do
        [[ $(member cat "/$name") == "$(<"$M/$name")" ]] || { echo "  $name" >&2; return 1; }
    done
    # asking for what they are does nothing
    for _ in 1 2 3; do member stat /blades/1/run; done
    [[ $(member cat /blades/1/state) == running ]]
}

test_5_running_is_the_source() {
    local name
    name=$(member ls /running | grep '^made@' | sort -V | tail -n 1)
    member pull "/running/$name" "$RACK_STATE/pulled"
    diff -r --no-dereference "$M/snapshots/made" "$RACK_STATE/pulled"
    [[ $(stat -c %a "$RACK_STATE/pulled/bin/busybox") == 755 ]]
}

test_6_who_may() {
    local who
    fails_with EACCES member cat /blades/1/key
    fails_with EACCES stranger cat /blades/1/key
    fails_with EACCES client_root cat /blades/1/key
    for who in stranger client_root; do
        fails_with EACCES "$who" write /blades/1/load web
        fails_with EACCES "$who" write /blades/any/load web
        fails_with EACCES "$who" mkdir /snapshots/theirs
        fails_with EACCES "$who" ls /running
        [[ $("$who" cat /blades/1/state) == running ]]
    done
    # a member who may not read the source
    chmod 700 "$M/snapshots/web"
    fails_with EACCES member write /blades/1/load web
    chmod 755 "$M/snapshots/web"
    [[ $(<"$M/blades/1/load") == made@* ]]
}

test_7_handles_outlive_the_cache_and_a_restart() {
    local path running
    need_lasting_handles
    running=$(<"$M/blades/1/load")
    local paths=(/ /snapshots /snapshots/made /snapshots/made/bin/busybox /snapshots/made/bin/sh
        /snapshots/made/.bladefs /snapshots/made/.bladefs/exec /blades /blades/1 /blades/1/load /blades/1/state
        /blades/1/image /blades/any /blades/any/load /running "/running/$running" "/running/$running/bin/busybox"
        /state/running /state/running/1 /status /store/stats)
    declare -A inodes
    stay
    for path in "${paths[@]}" /snapshots/made/gone /snapshots/made/before; do
        [[ $path != */gone && $path != */before ]] || expect 0 put /etc/passwd "$path"
        expect 0 keep "$path"
        inodes[$path]=$ANSWER
    done
    same() {
        for path in "${paths[@]}"; do
            expect 0 kept "$path"
            [[ $ANSWER == "${inodes[$path]}" ]] || { echo "  $path leads to $ANSWER, not ${inodes[$path]}" >&2; return 1; }
        done
    }
    same
    cold
    same
    # never to another file, not even to one that has its number
    expect 0 rm /snapshots/made/gone
    for path in 1 2 3 4 5 6 7 8; do
        expect 0 put /etc/group "/snapshots/made/new$path"
        expect 0 stat "/snapshots/made/new$path"
        [[ ${ANSWER##* } != "${inodes[/snapshots/made/gone]}" ]] || echo "  its number was taken again" >&2
    done
    expect ESTALE kept /snapshots/made/gone
    cold
    expect ESTALE kept /snapshots/made/gone
    expect 0 rm /snapshots/made/before
    nfs_restart
    within 20 state_is 1 running
    expect 0 put /etc/group /snapshots/made/after
    expect ESTALE kept /snapshots/made/gone
    expect ESTALE kept /snapshots/made/before
    same
    cold
    same
    expect ESTALE kept /snapshots/made/gone
    # and the same connection goes on working
    expect 0 write /blades/1/load web
    expect 0 cat /blades/1/load
    [[ $ANSWER == web@1 ]]
}

test_8_handles_outlive_a_controller_that_was_killed() {
    local path
    need_lasting_handles
    stay
    for path in /snapshots/made/bin/busybox /snapshots/made/.bladefs /blades/1/load /blades/any; do
        expect 0 keep "$path"
    done
    end_pid KILL "$RACK_STATE/bladefs.pid"
    asked kept /snapshots/made/bin/busybox
    [[ $RESULT != 0 ]]
    nfs_restart
    within 20 state_is 1 running
    for path in /snapshots/made/bin/busybox /snapshots/made/.bladefs /blades/1/load /blades/any; do
        expect 0 kept "$path"
    done
    expect 0 write /blades/1/load made
}

test_9_only_a_bladefs_mount_is_exported() {
    mkdir -p "$RACK_STATE/bare/snapshots"
    fails_with "not a bladefs mount" env STATE="$RACK_STATE/other" PORT="$(free_port)" "$EXPORT" start "$RACK_STATE/bare"
    [[ ! -e $RACK_STATE/other/pid ]]
}
