#!/usr/bin/env bash
# What people use otherwise, each at its best: in tmpfs, everything read before, zstd level 1, both processors.
# Sourced by run.sh; the figures go where `note` and `timed` put them.
# shellcheck disable=SC2154  # work and trees are run.sh's

borg_env() {
    export BORG_BASE_DIR=$work/borg BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
}
tar_out() { tar -C "$1" --xattrs --xattrs-include='*' -cf - .; }
tar_in() { tar -C "$1" --xattrs --xattrs-include='*' -xpf -; }

peer_tar_zstd() { tar_out "$trees/v1" | zstd -q -1 -T2 | zstd -q -d | tar_in "$work/out"; }
peer_unpack() { zstd -q -d -c "$work/v1.tar.zst" | tar_in "$work/out"; }
peer_casync() {
    casync make --store="$work/casync" "$work/v1.caidx" "$trees/v1" >/dev/null &&
        casync extract --store="$work/casync" "$work/v1.caidx" "$work/out"
}
peer_borg() {
    borg create -C zstd,1 "$work/repo::v1" "$trees/v1" && (cd "$work/out" && borg extract "$work/repo::v1")
}
peer_rsync() { rsync -a "$trees/v1/" "$work/out/"; }
peer_rsync_over() { rsync -a --delete "$trees/v2/" "$work/out/"; }

fresh_out() {
    rm -rf --one-file-system "$work/out"
    mkdir "$work/out"
}

# Each peer is skipped, with its reason, where its program is not to be had.
declare -A why_not=()
find_peers() {
    local tool
    for tool in casync borg rsync zstd; do
        command -v $tool >/dev/null || why_not[$tool]="$tool is not installed"
    done
    [[ -n ${why_not[casync]-} ]] || { # it does not run in every sandbox
        mkdir "$work/try" && casync make --store="$work/try.castr" "$work/try.caidx" "$work/try" >/dev/null 2>&1 ||
            why_not[casync]="casync make fails here"
        rm -rf "$work"/try*
    }
    zstd -q -1 -T2 <<<x >/dev/null || return 1 # the script itself needs it
}

run_peers() {
    fresh_out && timed tar_zstd peer_tar_zstd
    [[ -e $work/v1.tar.zst ]] || tar_out "$trees/v1" | zstd -q -1 -T2 -o "$work/v1.tar.zst"
    fresh_out && timed unpack peer_unpack
    if [[ -z ${why_not[rsync]-} ]]; then
        fresh_out && peer_rsync && timed rsync_over peer_rsync_over
    fi
    if [[ -z ${why_not[casync]-} ]]; then
        rm -rf "$work/casync" "$work/v1.caidx"
        mkdir "$work/casync"
        fresh_out && timed casync peer_casync
        rm -rf "$work/casync" "$work/v1.caidx"
    fi
    if [[ -z ${why_not[borg]-} ]]; then
        borg_env
        rm -rf "$work/repo" "$work/borg"
        mkdir "$work/borg"
        borg init -e none "$work/repo"
        fresh_out && timed borg peer_borg
        if [[ ! -s $work/borg_bytes.n ]]; then
            borg create -C zstd,1 "$work/repo::v2" "$trees/v2"
            note borg_bytes "$(du -sb "$work/repo/data" | cut -f1)"
        fi
        rm -rf "$work/repo" "$work/borg"
    fi
    rm -rf --one-file-system "$work/out"
}

# zstd -1 of the files of v2 that are not the same in v1, one after the other.
changed_bytes() {
    python3 - "$trees" <<'END' | (cd "$trees/v2" && xargs -0 -r cat) | zstd -q -1 -T2 | wc -c
import filecmp, os, stat, sys
v1, v2 = (os.path.join(sys.argv[1], v) for v in ("v1", "v2"))
for top, _, names in os.walk(v2):
    for name in names:
        path = os.path.join(top, name)
        old = os.path.join(v1, os.path.relpath(path, v2))
        if stat.S_ISREG(os.lstat(path).st_mode) and not (
            os.path.lexists(old) and stat.S_ISREG(os.lstat(old).st_mode) and filecmp.cmp(path, old, shallow=False)):
            sys.stdout.write(os.path.relpath(path, v2) + "\0")
END
}
