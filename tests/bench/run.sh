#!/usr/bin/env bash
# Whole loads, from `echo` to `running`, beside what people use otherwise, in one run on the same trees, everything in
# tmpfs, both ends on this machine. Prints a table: medians, and ratios to the peer named in the row.
#   tests/bench/run.sh DIR [RUNS]   DIR/v1 and DIR/v2 are two versions of a root filesystem; RUNS: 5
#   tests/bench/run.sh --short      a small tree of this host's own files and one run: only to see that it works
set -euo pipefail
here=$(dirname "$(realpath "$0")")
export BUILD=${BUILD:-$(realpath "$here/../../build")}
work=$(mktemp -d /dev/shm/bladefs-bench.XXXXXX)
export RACK_STATE=$work/rack
mkdir "$RACK_STATE"
. "$here/../lib/rack.sh"
trap 'rack_sweep >/dev/null 2>&1; rm -rf --one-file-system "$work"' EXIT
skip() { echo "skipped: $*"; exit 0; }
need_root
need_fuse

if [[ ${1-} == --short ]]; then
    runs=1 trees=$work/trees
    mkdir -p "$trees/v1/usr" "$trees/v1/bin"
    cp -a /usr/include "$trees/v1/usr/"
    cp "$(command -v busybox)" "$trees/v1/bin/"
    ln -s busybox "$trees/v1/bin/sleep"
    cp -a "$trees/v1" "$trees/v2"
    rm -rf "$trees/v2/usr/include/linux"
    echo "/* changed */" >>"$trees/v2/usr/include/stdio.h"
else
    trees=$(realpath "${1:?usage: run.sh DIR [RUNS] | --short}") runs=${2:-5}
fi
[[ -d $trees/v1 && -d $trees/v2 ]] || {
    echo "there is no $trees/v1 and v2" >&2
    exit 1
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }
timed() { # NAME COMMAND...: adds the time to NAME's figures
    local name=$1 start
    shift
    start=$(now_ms)
    "$@" || {
        echo "failed: $*" >&2
        return 1
    }
    echo $(($(now_ms) - start)) >>"$work/$name.ms"
}
median() { sort -n "$work/$1.ms" | awk '{v[NR] = $1} END {m = int((NR + 1) / 2); print NR % 2 ? v[m] : (v[m] + v[m + 1]) / 2}'; }
sent_of() { sed -E 's/.* sent ([^ ]+) .*/\1/' "$M/blades/$1/progress"; }
peak_kib() { awk '/^VmHWM/ {print $2}' "/proc/$1/status"; }
load() { echo "$1" >"$M/blades/$2/load"; }

# name, row in words, peer, peer in words
tar_zstd() { tar -C "$trees/v1" --xattrs --xattrs-include='*' -cf - . | zstd -q -1 -T2 | zstd -q -d | tar -C "$1" --xattrs --xattrs-include='*' -xpf -; }
unpack() { zstd -q -d -c "$work/v1.tar.zst" | tar -C "$1" --xattrs --xattrs-include='*' -xpf -; }

peers() {
    rm -rf "$work/out"
    mkdir -p "$work/out"/{a,b,c}
    timed tar_zstd tar_zstd "$work/out/a"
    rm -rf "$work/out/a"
    [[ -e $work/v1.tar.zst ]] || tar -C "$trees/v1" --xattrs --xattrs-include='*' -cf - . | zstd -q -1 -T2 -o "$work/v1.tar.zst"
    timed unpack unpack "$work/out/b"
    rm -rf "$work/out/b"
    timed rsync_fresh rsync -aHAX "$trees/v1/" "$work/out/c/"
    timed rsync_over rsync -aHAX --delete "$trees/v2/" "$work/out/c/"
    rm -rf "$work/out"
}

ours() {
    local slot
    rack_up
    for slot in a b; do blade_up "$slot"; done
    for slot in v1 v2; do
        mkdir "$M/snapshots/$slot"
        cp -a "$trees/$slot/." "$M/snapshots/$slot/"
        echo '/bin/sleep infinity' >"$M/snapshots/$slot/.bladefs/exec"
    done
    timed first load v1 a && sent_of a >"$work/first.sent"
    timed second load v1 b && sent_of b >"$work/second.sent"
    timed over load v2 a && sent_of a >"$work/over.sent"
    timed over_captured load v2 b && sent_of b >"$work/over_captured.sent"
    timed back load v1@1 a && sent_of a >"$work/back.sent"
    timed again load v1@1 a && echo "-" >"$work/again.sent"
    peak_kib "$(<"$RACK_STATE/bladefs.pid")" >>"$work/bladefs.kib"
    peak_kib "$(<"$(blade_dir a).pid")" >>"$work/bladed.kib"
    du -sk --apparent-size "$STORE/packs" | awk '{print $1}' >"$work/packs.kib"
    for slot in a b; do blade_end "$slot"; done
    rack_down
    rm -rf --one-file-system "$RACK_STATE"
    mkdir "$RACK_STATE"
    PORT=
}

for _ in $(seq "$runs"); do
    peers
    ours
done

row() { # WORDS NAME PEER PEER-WORDS
    awk -v w="$1" -v a="$(median "$2")" -v s="$(<"$work/$2.sent")" -v b="${3:+$(median "$3")}" -v p="$4" 'BEGIN {
        printf "| %s | %.2f s | %s | %s | %s |\n", w, a / 1000, s, (b == "" ? "" : sprintf("%s: %.2f s", p, b / 1000)), (b == "" ? "" : sprintf("%.2f", a / b))}'
}
echo "$(nproc) cores ($(awk -F': ' '/^model name/ {print $2; exit}' /proc/cpuinfo)), Linux $(uname -r), tmpfs, medians of $runs;" \
    "v1 $(du -sm "$trees/v1" | cut -f1) MB in $(find "$trees/v1" | wc -l) entries"
echo
echo "| load | time | sent | peer | ratio |"
echo "|---|---|---|---|---|"
row "v1, first load: capture, stream, write, start" first tar_zstd "tar, zstd -1 -T2, zstd -d, tar"
row "v1 on a second blade" second unpack "zstd -d, tar of a ready archive"
row "v2 over v1, with its capture" over rsync_over "rsync -aHAX --delete"
row "v2 over v1, captured before" over_captured rsync_over "rsync -aHAX --delete"
row "v1, first load, to a fresh place" first rsync_fresh "rsync -aHAX"
row "back to v1" back "" ""
row "what runs already" again "" ""
echo
echo "peak memory: bladefs $(($(sort -n "$work/bladefs.kib" | tail -n 1) / 1024)) MB," \
    "bladed $(($(sort -n "$work/bladed.kib" | tail -n 1) / 1024)) MB; packs of v1 and v2: $(($(<"$work/packs.kib") / 1024)) MB"
