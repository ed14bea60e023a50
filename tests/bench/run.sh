#!/usr/bin/env bash
# Whole loads, from `echo` to `running`, beside what people use otherwise, in one run on the same trees, everything in
# tmpfs, both ends on this machine. Prints a table: medians, ratios to the peer named in the row, and the targets.
#   tests/bench/run.sh DIR [RUNS]   DIR/v1 and DIR/v2 are two versions of a root filesystem; RUNS: 5
#   tests/bench/run.sh --short      a small tree of this host's own files and one run: only to see that it works
#   tests/bench/run.sh --limits     a source of 1 million files (FILES), files of 50 GB (GIGABYTES): memory and time; PARTS
#                                   (files sparse repeating) chooses
# Environment: BUILD, the build directory; BLADES (16), of the row of one image to many; WORK (/dev/shm), where all is done.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
export BUILD=${BUILD:-$(realpath "$here/../../build")}
work=$(mktemp -d "${WORK:-/dev/shm}/bladefs-bench.XXXXXX")
export RACK_STATE=$work/rack
mkdir "$RACK_STATE"
. "$here/../lib/rack.sh"
trap 'rack_sweep >/dev/null 2>&1; rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM HUP
skip() { echo "skipped: $*"; exit 0; }
. "$here/peers.sh"
. "$here/rows.sh"
. "$here/limits.sh"
need_root
need_fuse
for tool in runc python3 setfattr; do command -v $tool >/dev/null || skip "there is no $tool"; done
for program in fs/bladefs engine/agent/bladed tests/bench/index tests/bench/read_tree; do
    [[ -x $BUILD/$program ]] || {
        echo "there is no $BUILD/$program: ninja -C $BUILD" >&2
        exit 1
    }
done
find_peers || skip "there is no zstd"

now_ms() { echo $(($(date +%s%N) / 1000000)); }
note() { echo "$2" >>"$work/$1.n"; } # NAME FIGURE
# A virtual machine's host may give it memory only when it is touched, and take it back soon after it was freed: up to
# 4 s a GB, which would be most of what is measured. So before everything that is timed, of ours as of the peers, more is
# touched and freed than it will use.
warm_mib=0
warm() {
    ((warm_mib == 0)) || dd if=/dev/zero of="$work/warm" bs=1M count=$warm_mib 2>/dev/null
    rm -f "$work/warm"
}
timed() { # NAME COMMAND...: adds the time in ms to NAME's figures
    local name=$1 start end
    shift
    warm
    start=$EPOCHREALTIME
    "$@" || {
        echo "failed: $*" >&2
        [[ ! -d $M/blades ]] || cat "$M"/blades/*/error >&2
        return 1
    }
    end=$EPOCHREALTIME
    note "$name" "$(awk -v a="$start" -v b="$end" 'BEGIN {printf "%.1f", (b - a) * 1000}')"
}
median() { [[ ! -e $work/$1.n ]] || sort -n "$work/$1.n" | awk '{v[NR] = $1} END {m = int((NR + 1) / 2); print NR % 2 ? v[m] : (v[m] + v[m + 1]) / 2}'; }
most() { sort -n "$work/$1.n" | tail -n 1; }

if [[ ${1-} == --limits ]]; then
    limits
    exit
fi
if [[ ${1-} == --short ]]; then
    runs=1 trees=$work/trees many_of=include blades=${BLADES:-3}
    mkdir -p "$trees/v1/usr/include" "$trees/v1/bin"
    for part in linux x86_64-linux-gnu stdio.h; do
        [[ ! -e /usr/include/$part ]] || cp -a "/usr/include/$part" "$trees/v1/usr/include/"
    done
    cp "$(command -v busybox)" "$trees/v1/bin/"
    ln -s busybox "$trees/v1/bin/sleep"
    cp -a "$trees/v1" "$trees/v2"
    rm -rf "$trees/v2/usr/include/linux/netfilter"
    echo "/* changed */" >>"$trees/v2/usr/include/stdio.h"
    index=(--short)
else
    trees=$(realpath "${1:?usage: run.sh DIR [RUNS] | --short}") runs=${2:-5} many_of=share blades=${BLADES:-16} index=() warm_mib=3072
    [[ -d $trees/v1 && -d $trees/v2 ]] || {
        echo "there is no $trees/v1 and v2" >&2
        exit 1
    }
    if [[ $(stat -f -c %T "$trees") != tmpfs ]]; then
        mkdir "$work/trees"
        cp -a "$trees/v1" "$trees/v2" "$work/trees/"
        trees=$work/trees
    fi
fi

for ((run = 0; run < runs; run++)); do
    run_peers
    rows_1_to_5
    row_6
    store_end
    row_2_settled
    store_end
    ((run > 0)) || {
        row_8 "$blades"
        store_end
    }
done

row() { # NUMBER WORDS OURS UNIT PEER PEER-WORDS TARGET: figures' names; a PEER that is none is skipped with its reason
    awk -v no="$1" -v w="$2" -v a="$(median "$3")" -v unit="$4" -v b="${5:+$(median "$5")}" -v p="$6" -v t="$7" 'BEGIN {
        f = unit == "MB" ? 1e6 : 1000
        printf "| %s | %s | %.2f %s | %s | %s | %s |\n", no, w, a / f, unit, (b == "" ? p : sprintf("%s: %.2f %s", p, b / f, unit)),
            (b == "" ? "" : sprintf("%.2f", a / b)), t}'
}
peer() { # TOOL WORDS: the words, or why there is no such peer
    echo "${why_not[$1]:-$2}"
}
line() { printf '| %s | %s | %s | %s | %s | %s |\n' "$@"; }
calc() { awk "BEGIN {printf \"$1\", $2}"; }

echo "$(nproc) cores ($(awk -F': ' '/^model name/ {print $2; exit}' /proc/cpuinfo)), $(awk '/^MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo), Linux $(uname -r)," \
    "tmpfs, zstd level 1, medians of $runs; v1 $(du -sm "$trees/v1" | cut -f1) MB in $(find "$trees/v1" | wc -l) entries; load $(cut -d' ' -f1 /proc/loadavg) at the end"
echo
echo "| | what | bladefs | peer in the same run | ratio | target |"
echo "|---|---|---|---|---|---|"
row 1 "first load of v1, nothing prepared" first s tar_zstd 'tar, zstd -1 -T2, zstd -d, tar' 0.60
row 1 "the same" first s "${why_not[casync]+none}${why_not[casync]-casync}" "$(peer casync 'casync make, extract')" 0.20
row 1 "the same" first s "${why_not[borg]+none}${why_not[borg]-borg}" "$(peer borg 'borg create, extract')" 0.20
row 2 "v1 after the copy has settled" settled s unpack "zstd -d, tar of a ready archive" 0.65
row 2 "v1 on a second blade" second s unpack "zstd -d, tar of a ready archive" 0.65
note changed_bytes "$(changed_bytes)"
row 3 "v2 over v1, captured before" over s rsync_over "$(peer rsync 'rsync -a --delete')" 0.25
row 3 "bytes sent for it" over_sent MB changed_bytes "zstd -1 of the files that differ" 1.10
line 4 "back to v1, beyond the runtime's start" "$(calc '%.0f ms' "$(median back) - $(median runtime)")" \
    "runc run: $(calc '%.0f ms' "$(median runtime)")" "" "under 60 ms"
line 4 "bytes sent for it" "$(most back_sent)" "" "" 0
line 4 "what runs there already" "$(calc '%.1f ms' "$(median again)")" "" "" "under 10 ms"
row 5 "packs of v1 and v2" packs_bytes MB "${why_not[borg]+none}${why_not[borg]-borg_bytes}" "$(peer borg 'borg, both')" 1.00
line 6 "capture of a known tree, beyond reading" \
    "$(calc '%.2f GB/s a core' "$(median capture_bytes) / 1e6 / ($(median capture_cpu) > $(median read_cpu) ? $(median capture_cpu) - $(median read_cpu) : 1)")" \
    "$(calc 'reading alone: %.2f s' "$(median read_cpu) / 1000") of the load's $(calc '%.2f s of processor' "$(median capture_cpu) / 1000")" "" "2.5 GB/s"
[[ ! -x $BUILD/tests/bench/cut ]] || "$BUILD/tests/bench/cut" "${index[@]}" | sed 's/^/| 7 | cutting: /; s/$/ | | | | |/'
line 8 "one image to $((blades - 1)) further blades at once" \
    "$(calc '%.2f s of processor a GB' "$(median many_cpu) / 1000 / ($(median many_bytes) / 1e9)")" "" "" "0.40 s"
line 8 "stored or compressed for it" "$(median many_stored) bytes" "" "" 0
"$BUILD/tests/bench/index" "${index[@]}" | sed 's/^/| 9 | index, /; s/$/ | | | | |/'
line 10 "peak memory in these rows" "bladefs $(($(most bladefs_kib) / 1024)) MB, bladed $(($(most bladed_kib) / 1024)) MB" "" "" "200 MB each"
