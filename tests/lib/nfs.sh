#!/usr/bin/env bash
# For suites that export the rack's mount as examples/nfs does: an NFS-Ganesha on a free port of the loopback interface.
# Sourced after rack.sh.
#
#   need_ganesha    skips where there is none
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

nfs_up() {
    [[ -n ${NFS_PORT-} ]] || NFS_PORT=$(free_port)
    echo "$NFS_PORT" >"$RACK_STATE/nfs.port"
    nfs_export start "$M" || {
        tail -n 20 "$RACK_STATE/nfs/log" >&2
        return 1
    }
    nfs_export grant "$M" "$NFS_GROUP"
}

nfs_restart() {
    nfs_export restart "$M" bash -c '. "$TESTS/lib/rack.sh"; rack_down && rack_up'
}

nfs_down() {
    nfs_export stop
}
