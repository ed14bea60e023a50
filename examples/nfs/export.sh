#!/usr/bin/env bash
# Exports a bladefs mount over NFSv4 with NFS-Ganesha (Debian: nfs-ganesha nfs-ganesha-vfs), as root:
#
#   export.sh start MOUNT             exports it as /bladefs; only if it is a bladefs mount, and not the bare directory
#   export.sh grant MOUNT GROUP       lets a group load: see below; once, and again after new slots were made
#   export.sh restart MOUNT [STOP START]
#                                     restarts the controller below its export: clients go on with the handles that they
#                                     have. STOP and START are commands that do it ("systemctl stop bladefs" "systemctl
#                                     start bladefs"); without them MOUNT is unmounted, and mounted again from fstab.
#                                     What a client asks for meanwhile fails with ESTALE
#   export.sh stop                    ends the server; the mount stays
#
# Environment: ADDRESS (127.0.0.1) and PORT (2049) to listen on, STATE (/run/bladefs-nfs) for its files.
#
# Root on a client is nobody here, so nobody reads a `key` over NFS. `grant` gives GROUP, by modes that everybody can see:
#   snapshots          rwx   to make snapshots, and to read and change what is in them as its modes say
#   running            r-x   to read running snapshots, and to load one by NAME@N
#   blades/*/load, blades/any/load   rw-
#   blades/*/log       r--
set -euo pipefail
here=$(dirname "$(realpath "$0")")
: "${ADDRESS:=127.0.0.1}" "${PORT:=2049}" "${STATE:=/run/bladefs-nfs}"

die() {
    echo "export.sh: $*" >&2
    exit 1
}

need_mount() {
    [[ $(findmnt -no FSTYPE --mountpoint "$1" | tail -n 1) == fuse.bladefs ]] ||
        die "$1 is not a bladefs mount: what is below it must not be exported"
    timeout 10 test -d "$1/snapshots" || die "$1: its controller does not answer"
}

# within SECONDS COMMAND...
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" 2>/dev/null; do
        ((SECONDS <= end)) || return 1
        sleep 0.05
    done
}

server() { # the pid, if it runs
    local pid
    pid=$(cat "$STATE/pid" 2>/dev/null) && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == ganesha* ]] && echo "$pid"
}

export_block() { # MOUNT
    cat <<BLOCK
EXPORT {
    Export_Id = 1;
    Path = "$1";
    Pseudo = /bladefs;
    Filesystem_Id = 77.1;
    Attr_Expiration_Time = 0;
    FSAL { Name = VFS; }
}
BLOCK
}

configure() { # [MOUNT]: without one nothing is exported
    local plugins block=""
    plugins=$(dirname "$(find /usr/lib /usr/lib64 -name libfsalvfs.so 2>/dev/null | head -n 1)")
    [[ $plugins != . ]] || die "there is no libfsalvfs.so: install nfs-ganesha-vfs"
    [[ -z ${1-} ]] || block=$(export_block "$1")
    sed -e "s|@PORT@|$PORT|; s|@ADDRESS@|$ADDRESS|; s|@PLUGINS@|$plugins|; s|@STATE@|$STATE|" \
        "$here/ganesha.conf.in" >"$STATE/conf.new"
    printf '%s\n' "$block" >>"$STATE/conf.new"
    mv "$STATE/conf.new" "$STATE/conf"
}

# What the server does not export it has no file open of.
has_open() { # PID MOUNT
    find "/proc/$1/fd" -type l -lname "$2*" | grep -q .
}

rereads() { # how often the server has read its exports again
    grep -c "Reread exports complete" "$STATE/log" || true
}

reread() { # PID
    local before
    before=$(rereads)
    kill -HUP "$1"
    within 30 has_reread "$before" || die "the server did not read its exports again: see $STATE/log"
}

has_reread() {
    [[ $(rereads) -gt $1 ]]
}

not() {
    ! "$@"
}

answers() {
    (exec 3<>"/dev/tcp/$ADDRESS/$PORT") 2>/dev/null
}

start() { # MOUNT
    local mount
    mount=$(realpath "$1")
    need_mount "$mount"
    [[ -z $(server) ]] || die "it runs already"
    (umask 077 && mkdir -p "$STATE/recovery")
    # What the server remembers of the export it finds here again after a restart of its own.
    echo "$mount" >"$STATE/mount"
    echo "$ADDRESS $PORT" >"$STATE/address"
    stat -c %d "$mount" >"$STATE/device"
    configure "$mount"
    ganesha.nfsd -f "$STATE/conf" -L "$STATE/log" -p "$STATE/pid" -N NIV_EVENT
    within 30 answers || die "it does not answer on $ADDRESS:$PORT: see $STATE/log"
    within 30 grep -q "NFS SERVER INITIALIZED" "$STATE/log" || die "it did not start: see $STATE/log"
}

stop() {
    local pid
    pid=$(server) || return 0
    kill -TERM "$pid"
    within 20 not test -e "/proc/$pid" || kill -KILL "$pid"
    rm -f "$STATE/pid"
}

# A file handle that a client has is the mount's device number and the node. The kernel gives a new mount the lowest
# number that is free, so those below the one that the mount had are taken while it is mounted again.
take_numbers() { # below DEVICE: fails when that is somebody else's
    local dir device
    mkdir -p "$STATE/taken"
    while :; do
        dir=$(mktemp -d "$STATE/taken/XXXXXX")
        mount -t tmpfs -o size=4k taken "$dir"
        device=$(stat -c %d "$dir")
        ((device < $1)) && continue
        umount "$dir"
        rmdir "$dir"
        ((device == $1))
        return
    done
}

give_numbers_back() {
    local dir
    for dir in "$STATE"/taken/*/; do
        [[ -d $dir ]] || continue
        ! findmnt --mountpoint "$dir" >/dev/null || umount "$dir"
        rmdir "$dir"
    done
}

restart() { # MOUNT [STOP START]
    local mount pid device stop=${2-} start=${3-} try
    pid=$(server) || die "no server runs"
    mount=$(<"$STATE/mount")
    device=$(<"$STATE/device")
    # Its controller may be dead: so nothing that looks at the mount.
    [[ $(realpath -ms -- "$1") == "$mount" ]] || die "$mount is what is exported"
    read -r ADDRESS PORT <"$STATE/address"
    configure
    reread "$pid"
    within 30 not has_open "$pid" "$mount" || die "the server keeps $mount open"
    trap give_numbers_back EXIT
    # Others mount and unmount, too: then once more.
    for try in 1 2 3 4 5; do
        bash -c "${stop:-umount '$mount'}"
        within 20 take_numbers "$device" || true
        bash -c "${start:-mount '$mount'}"
        within 30 test -d "$mount/snapshots" || die "the controller is not back"
        give_numbers_back
        [[ $(stat -c %d "$mount") != "$device" ]] || break
        echo "export.sh: try $try: the device number is $(stat -c %d "$mount"), not $device" >&2
    done
    need_mount "$mount"
    configure "$mount"
    reread "$pid"
    within 30 has_open "$pid" "$mount" || die "the server does not export $mount again: see $STATE/log"
    [[ $(stat -c %d "$mount") == "$device" ]] ||
        die "the mount's device number is taken: the handles of clients are stale, they must mount again"
}

grant() { # MOUNT GROUP
    need_mount "$1"
    cd "$1"
    chgrp "$2" snapshots running blades/any/load
    chmod 770 snapshots
    chmod 750 running
    chmod 660 blades/any/load
    local slot
    for slot in blades/*/; do
        [[ -e $slot/load ]] || continue
        chgrp "$2" "$slot/load" "$slot/log"
        chmod 660 "$slot/load"
    done
}

[[ $(id -u) == 0 ]] || die "needs root"
verb=${1-}
case $verb in
    start) [[ $# == 2 ]] || die "start MOUNT" ;;
    grant) [[ $# == 3 ]] || die "grant MOUNT GROUP" ;;
    restart) [[ $# == 2 || $# == 4 ]] || die "restart MOUNT [STOP START]" ;;
    stop) [[ $# == 1 ]] || die "stop" ;;
    *) die "start MOUNT, grant MOUNT GROUP, restart MOUNT [STOP START], or stop" ;;
esac
shift
"$verb" "$@"
