#!/usr/bin/env bash
# For suites that export the rack's mount as examples/nfs does: an NFS-Ganesha on a free port of the loopback interface.
# Sourced after rack.sh.
#
#   need_ganesha    skips where there is none
#   nfs_prepare     before rack_up, for nfs_restart
#   nfs_up          exports $M; sets NFS_PORT
#   nfs_restart     the documented restart of the controller below its export
#   nfs_down
EXPORT=$TESTS/../examples/nfs/export.sh
NFS_GROUP=5000 # may load, by `export.sh grant`
[[ -e $RACK_STATE/nfs.port ]] && NFS_PORT=$(<"$RACK_STATE/nfs.port")

need_ganesha() {
    command -v ganesha.nfsd >/dev/null || skip "there is no ganesha.nfsd (nfs-ganesha)"
    [[ -n $(find /usr/lib /usr/lib64 -name libfsalvfs.so 2>/dev/null) ]] || skip "there is no libfsalvfs.so (nfs-ganesha-vfs)"
}

nfs_export() {
    STATE=$RACK_STATE/nfs ADDRESS=127.0.0.1 PORT=${NFS_PORT-} "$EXPORT" "$@" 3>&-
}

# Before rack_up.
nfs_prepare() {
    mkdir "$RACK_STATE/earlier"
    mount -t tmpfs earlier "$RACK_STATE/earlier"
}

nfs_up() {
    [[ -n ${NFS_PORT-} ]] || NFS_PORT=$(free_port)
    echo "$NFS_PORT" >"$RACK_STATE/nfs.port"
    nfs_export start "$M" || {
        tail -n 20 "$RACK_STATE/nfs/log" >&2
        return 1
    }
    nfs_export grant "$M" "$NFS_GROUP"
}

# Something that was mounted before is gone, as happens, and its device number free: the mount must get its own again.
nfs_restart() {
    ! findmnt --mountpoint "$RACK_STATE/earlier" >/dev/null || umount "$RACK_STATE/earlier"
    nfs_export restart "$M" "'$TESTS/lib/nfs.sh' controller_stop" "'$TESTS/lib/nfs.sh' controller_start" \
        >"$RACK_STATE/nfs.restart" 2>&1 || {
        cat "$RACK_STATE/nfs.restart" >&2
        return 1
    }
}

nfs_down() {
    nfs_export stop
}

# What nfs_restart restarts the controller with, which may have been killed.
case ${1-} in
    controller_stop)
        set -e
        . "$TESTS/lib/rack.sh"
        if [[ -e $RACK_STATE/bladefs.pid ]]; then rack_down; else umount "$M"; fi
        ;;
    controller_start)
        set -e
        . "$TESTS/lib/rack.sh"
        rack_up
        ;;
esac
