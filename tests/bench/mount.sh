#!/usr/bin/env bash
# The mount beside the directory itself and beside libfuse's own passthrough_hp, in one run on the same trees. Prints a
# table: medians in milliseconds, and ratios.
#   tests/bench/mount.sh DIR [RUNS]   DIR/v1 is a root filesystem; RUNS: 5
#   tests/bench/mount.sh --short      a small tree of this host's own files and one run: only to see that it works
# Environment: BUILD, the build directory; HP, the passthrough_hp of the same libfuse (default: tests/libfuse.sh builds
# it); BACKING, where everything lies (/dev/shm: on a disk the write-back's noise hides the rest).
# passthrough_hp runs with and without splice, and the better median of each row counts: where pipes cannot be made as
# large as it wants, its splice costs it eight system calls a request.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
export BUILD=${BUILD:-$(realpath "$here/../../build")}
work=$(mktemp -d "${BACKING:-/dev/shm}/bladefs-bench.XXXXXX")
export RACK_STATE=$work/rack
mkdir "$RACK_STATE"
. "$here/../lib/rack.sh"
hp_pids=()
end() {
    local pid
    set +e
    for pid in "${hp_pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
    rack_sweep
    umount "$work"/hp*.mnt 2>/dev/null
    rm -rf --one-file-system "$work"
}
trap 'end >/dev/null 2>&1' EXIT
skip() { echo "skipped: $*"; exit 0; }
need_root
need_fuse
for tool in fio git tar; do command -v $tool >/dev/null || skip "there is no $tool"; done

short=
if [[ ${1-} == --short ]]; then
    short=1 runs=1 big=16m random=4m files=200 tree=$work/tree
    mkdir "$tree"
    cp -a /usr/include/linux /usr/include/x86_64-linux-gnu "$tree/" 2>/dev/null || cp -a /usr/include/. "$tree/"
else
    tree=$(realpath "${1:?usage: mount.sh DIR [RUNS] | --short}")/v1 runs=${2:-5} big=1g random=64m files=2000
fi
[[ -d $tree ]] || { echo "there is no $tree" >&2; exit 1; }

# The libfuse that the program runs with, and the passthrough_hp of the same.
version=$("$BLADEFS" --version | sed -n 's/.*libfuse \(3\.[0-9]*\).*/\1/p')
if [[ -z ${HP-} ]]; then
    HP=$(realpath "$here/../..")/build-libfuse-$version
    "$here/../libfuse.sh" "$version" "$HP" >"$work/libfuse.log" 2>&1 || skip "no passthrough_hp of libfuse $version: $(tail -n 1 "$work/libfuse.log")"
    HP=$HP/bin/passthrough_hp
fi

hp_up() { # NAME options...
    local name=$1
    shift
    mkdir "$work/$name" "$work/$name.mnt"
    LD_LIBRARY_PATH=$(realpath "$(dirname "$HP")/../lib") "$HP" --foreground "$@" "$work/$name" "$work/$name.mnt" \
        >"$work/$name.log" 2>&1 &
    hp_pids+=($!)
    within 10 mountpoint -q "$work/$name.mnt"
}

# passthrough_hp keeps a descriptor of each file that the kernel knows. Where it may not have that many, the rows beside it
# are those of a part of the tree.
ulimit -n "$(ulimit -Hn)"
whole=$tree
(($(find "$tree" | wc -l) * 4 / 3 < $(ulimit -n))) || tree=$tree/usr/share
(($(find "$tree" | wc -l) * 4 / 3 < $(ulimit -n))) || skip "passthrough_hp may have $(ulimit -n) descriptors, and needs one for each file"

mkdir "$work/native"
hp_up hp
hp_up hp_nosplice --nosplice
rack_up
mkdir "$M/snapshots/bench"
declare -A place=([native]=$work/native [hp]=$work/hp.mnt [hp_nosplice]=$work/hp_nosplice.mnt [bladefs]=$M/snapshots/bench)
targets=(native hp hp_nosplice bladefs)
tar -C "$tree" -cf "$work/tree.tar" .
mkdir "$work/checkout"
cp -a "$tree/." "$work/checkout/"
find "$work/checkout" \( -type p -o -type b -o -type c -o -name .git \) -exec rm -rf {} +
git -C "$work/checkout" init -q .
git -C "$work/checkout" -c core.bigFileThreshold=1m add -A . 2>/dev/null
git -C "$work/checkout" -c user.name=bench -c user.email=bench@localhost commit -qm all
git -C "$work/checkout" repack -adq

now_us() { echo $(($(date +%s%N) / 1000)); }
note() { echo "$3" >>"$work/$1.$2.us"; } # ROW TARGET MICROSECONDS
timed() { # ROW TARGET COMMAND...
    local row=$1 target=$2 start
    shift 2
    start=$(now_us)
    "$@" >/dev/null
    note "$row" "$target" $(($(now_us) - start))
}
# A virtual machine's host may give it memory only when it is touched (see run.sh): as much as a row takes was, before.
warm() {
    [[ -z $short ]] || return 0
    dd if=/dev/zero of="$work/warm" bs=1M count=3072 2>/dev/null
    rm -f "$work/warm"
}
fresh() { # what the kernel keeps of names and attributes goes, for all alike
    sync -f "$work"
    echo 2 >/proc/sys/vm/drop_caches
}
job() { # ROW TARGET FILE fio options...: the run time that fio itself measured
    local row=$1 target=$2 file=$3
    shift 3
    fio --minimal --name=job --filename="$file" --ioengine=psync --invalidate=0 --randrepeat=1 "$@" >"$work/fio.out"
    note "$row" "$target" "$(awk -F';' '{t = $9 > 0 ? $9 : $50; printf "%d", t * 1000}' "$work/fio.out")"
}
creates() { # TARGET DIR
    note creates "$1" "$(python3 - "$2" "$files" <<'END'
import os, sys, time
start = time.monotonic_ns()
for i in range(int(sys.argv[2])):
    fd = os.open(f"{sys.argv[1]}/{i}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(fd, b"x" * 4096)
    os.close(fd)
print((time.monotonic_ns() - start) // 1000)
END
)"
}

measure_whole() { # TARGET
    [[ $1 != hp* ]] || return 0
    warm
    timed whole "$1" cp -a "$whole" "${place[$1]}/whole"
    rm -r "${place[$1]}/whole"
    sync -f "$work"
}

measure() { # TARGET
    local target=$1 dir=${place[$1]}
    [[ $whole == "$tree" ]] || measure_whole "$target"
    warm
    timed copy "$target" cp -a "$tree" "$dir/copy"
    fresh
    timed find "$target" find "$dir/copy" -ls
    timed find_again "$target" find "$dir/copy" -ls
    rm -r "$dir/copy"
    mkdir "$dir/untarred"
    warm
    timed untar "$target" tar -C "$dir/untarred" -xpf "$work/tree.tar"
    [[ -z $short ]] || diff -r --no-dereference "$tree" "$dir/untarred"
    timed remove "$target" rm -r "$dir/untarred"
    cp -a "$work/checkout" "$dir/checkout"
    git -C "$dir/checkout" status --porcelain >"$work/status" # the first one reads every file
    [[ ! -s $work/status ]]
    fresh
    timed git "$target" git -C "$dir/checkout" status
    timed git_again "$target" git -C "$dir/checkout" status
    rm -r "$dir/checkout"
    mkdir "$dir/creates"
    warm
    creates "$target" "$dir/creates"
    rm -r "$dir/creates"
    job write "$target" "$dir/big" --rw=write --bs=1m --size="$big"
    job read "$target" "$dir/big" --rw=read --bs=1m --size="$big"
    job random_read "$target" "$dir/big" --rw=randread --bs=4k --size="$big" --io_size="$random"
    job random_write "$target" "$dir/big" --rw=randwrite --bs=4k --size="$big" --io_size="$random"
    rm "$dir/big"
}

for ((i = 0; i < runs; i++)); do
    for ((k = 0; k < ${#targets[@]}; k++)); do
        measure "${targets[(i + k) % ${#targets[@]}]}"
    done
done

median() { # ROW TARGET: microseconds
    sort -n "$work/$1.$2.us" | awk '{v[NR] = $1} END {m = int((NR + 1) / 2); print NR % 2 ? v[m] : (v[m] + v[m + 1]) / 2}'
}
row() { # ROW WORDS
    local native hp nosplice ours
    native=$(median "$1" native) hp=$(median "$1" hp) nosplice=$(median "$1" hp_nosplice) ours=$(median "$1" bladefs)
    awk -v words="$2" -v n="$native" -v a="$hp" -v b="$nosplice" -v o="$ours" 'BEGIN {
        h = a < b ? a : b
        printf "| %s | %.0f | %.0f%s | %.0f | %.2f | %.2f |\n", words, n / 1000, h / 1000, a < b ? "" : " *", o / 1000, o / n, o / h}'
}
echo "Medians of $runs in ms, $(nproc) cores of $(awk -F': ' '/^model name/ {print $2; exit}' /proc/cpuinfo), $(awk '/^MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo),"
files_of() { echo "$(find "$1" | wc -l) files, $(du -sh "$1" | cut -f1)"; }
echo "kernel $(uname -r | sed 's/-.*//'), $("$BLADEFS" --version), on $(stat -f -c %T "$work"); the tree: $(files_of "$tree")."
sed -n 's/^\(passthrough\|splice\|writeback\|io_uring\) .*/&/p' "$M/store/stats" | paste -sd, | sed 's/,/, /g'
echo
echo "| | directory | passthrough_hp (* without splice) | bladefs | to directory | to passthrough_hp |"
echo "|---|---|---|---|---|---|"
[[ $whole == "$tree" ]] || awk -v words="cp -a of a whole root filesystem ($(files_of "$whole"))" -v n="$(median whole native)" -v o="$(median whole bladefs)" \
    'BEGIN {printf "| %s | %.0f | | %.0f | %.2f | |\n", words, n / 1000, o / 1000, o / n}'
row copy "cp -a of the tree"
row untar "tar x"
row remove "rm -r"
row find "find -ls, nothing cached"
row find_again "find -ls, again"
row git "git status, nothing cached"
row git_again "git status, again"
row creates "$files creates of 4 KiB"
row write "write $big, 1 MiB each"
row read "read $big, 1 MiB each, cached"
row random_read "random read $random, 4 KiB each"
row random_write "random write $random, 4 KiB each"
rack_down
