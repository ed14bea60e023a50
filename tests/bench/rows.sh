#!/usr/bin/env bash
# What is measured of bladefs, row by row. Sourced by run.sh; the figures go where `note` and `timed` put them.
# shellcheck disable=SC2154  # work, trees, M, STORE and the like are run.sh's and rack.sh's

ticks_a_second=$(getconf CLK_TCK)
load() { echo "$1" >"$M/blades/$2/load"; }
# The bytes that the last load sent, of `sent 88.1MiB` in progress: as exact as that.
sent_bytes() {
    sed -E 's/.* sent ([0-9.]+)([A-Za-z]*) .*/\1 \2/' "$M/blades/$1/progress" |
        awk '{u["B"] = 1; u["KiB"] = 1024; u["MiB"] = 1048576; u["GiB"] = 1073741824; printf "%d\n", $1 * u[$2]}'
}
peak_kib() { awk '/^VmHWM/ {print $2}' "/proc/$1/status"; }
pid_of() { cat "$RACK_STATE/bladefs.pid"; }
cpu_ms() { # of a process so far, user and system
    sed 's/.*) //' "/proc/$1/stat" | awk -v hz="$ticks_a_second" '{printf "%d\n", ($12 + $13) * 1000 / hz}'
}
stat_of() { awk -v k="$1" '$1 == k {print $2}' "$M/store/stats"; }
note_peaks() {
    local pid
    note bladefs_kib "$(peak_kib "$(pid_of)")"
    for pid in "$RACK_STATE"/blade-*.pid; do
        [[ ! -e $pid ]] || note bladed_kib "$(peak_kib "$(<"$pid")")"
    done
}

# Snapshots put in place while no controller runs, as from a backup: nothing of them is prepared.
put_in_place() { # NAME TREE
    cp -a "$2" "$STORE/snapshots/$1"
    setfattr -n user.bladefs.exec -v '/bin/sleep infinity' "$STORE/snapshots/$1"
}

# Whatever is captured in the background is done.
settled() { [[ $(stat_of eager_pending) == 0 ]]; }

store_new() {
    rack_up
    rack_down
}
store_end() {
    local key slot
    for key in "$RACK_STATE"/blade-*.key; do
        slot=${key##*/blade-}
        [[ ! -e $key ]] || blade_end "${slot%.key}"
    done
    rack_down
    rm -rf --one-file-system "$RACK_STATE"
    mkdir "$RACK_STATE"
    PORT=
}

# The runtime's own start: the configuration of an instance, with a root of its own.
note_runtime_start() {
    local bundle=$work/bundle
    rm -rf "$bundle"
    mkdir "$bundle"
    busybox_root "$bundle/root"
    python3 - "$(find "$(blade_dir a)/instance" -name config.json | head -n 1)" "$bundle" <<'END'
import json, sys
config = json.load(open(sys.argv[1]))
config["root"] = {"path": sys.argv[2] + "/root", "readonly": False}
config.get("linux", {}).pop("cgroupsPath", None)
json.dump(config, open(sys.argv[2] + "/config.json", "w"))
END
    timed runtime runc --root "$work/runc" run --detach --bundle "$bundle" "bench-$$" </dev/null >"$work/runc.log" 2>&1
    runc --root "$work/runc" delete -f "bench-$$"
    rm -rf "$bundle"
}

# Without captures ahead: rows 1 and 6 are of captures, and row 2 has a store of its own with them.
rows_1_to_5() {
    store_new
    put_in_place v1 "$trees/v1"
    put_in_place v2 "$trees/v2"
    rack_up -o noeager
    for slot in a b; do blade_up "$slot"; done
    timed first load v1 a
    note first_sent "$(sent_bytes a)"
    timed second load v1 b
    load v2 a
    timed over load v2 b
    note over_sent "$(sent_bytes b)"
    note_runtime_start
    timed back load v1@1 a
    note back_sent "$(sent_bytes a)"
    timed again load v1@1 a
    note packs_bytes "$(du -sb --exclude=reserve "$STORE/packs" | cut -f1)"
    note_peaks
}

# A copy under another name, all of whose content is in the store of rows 1 to 5.
row_6() {
    local pid before bytes
    mkdir "$M/snapshots/copy"
    cp -a "$trees/v1/." "$M/snapshots/copy/"
    echo '/bin/sleep infinity' >"$M/snapshots/copy/.bladefs/exec"
    bytes=$(find "$trees/v1" -type f -printf '%s\n' | awk '{n += $1} END {print n}')
    pid=$(pid_of)
    before=$(cpu_ms "$pid")
    load copy a
    note capture_cpu $(($(cpu_ms "$pid") - before))
    note read_cpu "$("$BUILD/tests/bench/read_tree" "$STORE/snapshots/copy")"
    note capture_bytes "$bytes"
    note_peaks
}
# A load after the copy through the mount has settled.
row_2_settled() {
    rack_up
    blade_up a
    mkdir "$M/snapshots/v1"
    cp -a "$trees/v1/." "$M/snapshots/v1/"
    echo '/bin/sleep infinity' >"$M/snapshots/v1/.bladefs/exec"
    within 120 settled
    timed settled load v1 a
    note_peaks
}

# One image to many blades at once: the first blade's load apart, then all others together.
row_8() { # BLADES
    local n=$1 k pid before loads=() bytes
    rack_up
    busybox_root "$work/many"
    cp -a "$trees/v1/usr/$many_of" "$work/many/content"
    mkdir "$M/snapshots/many"
    cp -a "$work/many/." "$M/snapshots/many/"
    rm -rf "$work/many"
    echo '/bin/sleep infinity' >"$M/snapshots/many/.bladefs/exec"
    for ((k = 0; k < n; k++)); do blade_up "m$k"; done
    within 120 settled
    bytes=$(find "$M/snapshots/many" -type f -printf '%s\n' | awk '{n += $1} END {print n}')
    pid=$(pid_of)
    load many m0
    stored=$(stat_of stored_bytes) chunks=$(stat_of chunks)
    before=$(cpu_ms "$pid")
    for ((k = 1; k < n; k++)); do
        load many "m$k" &
        loads+=($!)
    done
    for k in "${loads[@]}"; do wait "$k"; done
    note many_cpu $(($(cpu_ms "$pid") - before))
    note many_bytes $((bytes * (n - 1)))
    note many_stored $(($(stat_of stored_bytes) - stored + $(stat_of chunks) - chunks))
    note_peaks
}
