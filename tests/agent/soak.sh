#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# Loads of ever changing snapshots, while running snapshots are removed, the store is collected and checked, and the
# controller, the agents and the supervisors are killed at random; after each round what is said is compared with what is. SOAK_S: for how long (20 s); SOAK_SEED: the dice's first number.
: "${SOAK_S:=20}"
SLOTS=(1 2 3)

file_setup() {
    need_fuse
    need_root
    rack_up
    local slot
    for slot in "${SLOTS[@]}"; do
        blade_up "$slot"
        snapshot "own$slot" "/bin/sh -c 'cat /stamp; exec sleep 100000'"
    done
}
file_teardown() {
    local slot
    for slot in "${SLOTS[@]}"; do blade_end "$slot"; done
    rack_down
}

# The source of SLOT as it is from now on: a stamp, data, and the data's sum, by which a copy can be judged anywhere.
change_source() {
    local top=$M/snapshots/own$1 number=$2
    mkdir -p "$top/d$((number % 5))" &&
        head -c $((RANDOM * 150)) /dev/urandom >"$top/data" &&
        echo "$number" >"$top/d$((number % 5))/part" &&
        sha256sum <"$top/data" >"$top/sum" &&
        echo "$1 $number" >"$top/stamp"
}

# Changes the source and loads it. What may run from then on is in may.SLOT: all that was tried since the last success.
load_once() {
    local slot=$1 number=$2
    change_source "$slot" "$number" 2>/dev/null || return 0
    echo "$number" >>"$RACK_STATE/may.$slot"
    if timeout 60 bash -c "echo own$slot >'$M/blades/$slot/load'" 2>>"$RACK_STATE/said.$slot"; then
        echo "$number" >"$RACK_STATE/may.$slot"
        echo "$number" >"$RACK_STATE/acknowledged.$slot"
    fi
}

# Removes what is not in use, collects and checks. It may be in the middle of that when the controller is killed.
keep_house() {
    local running
    sleep "0.$((RANDOM % 10))"
    for running in "$M"/running/*@*; do
        ((RANDOM % 4 == 0)) || timeout 20 rmdir "$running" 2>/dev/null || true
    done
    timeout 60 bash -c "echo gc >'$M/store/gc'" 2>>"$RACK_STATE/said.gc" || true
    ((RANDOM % 3 > 0)) || timeout 60 bash -c "echo full >'$M/store/fsck'" 2>>"$RACK_STATE/said.fsck" || true
}

kill_somebody() {
    local slot=${SLOTS[RANDOM % ${#SLOTS[@]}]} pid
    case $((RANDOM % 6)) in
        0 | 1)
            echo "  kill the controller"
            rack_kill
            sleep "0.$((RANDOM % 5))"
            rack_up
            ;;
        2 | 3 | 4)
            echo "  kill agent $slot"
            blade_kill "$slot"
            sleep "0.$((RANDOM % 5))"
            blade_start "$slot"
            ;;
        5)
            pid=$(supervisors_of "$slot" | head -n 1)
            echo "  kill the supervisor of $slot: ${pid:-none}"
            [[ -z $pid ]] || kill -KILL "$pid" 2>/dev/null || true
            echo "$slot" >>"$RACK_STATE/struck"
            ;;
    esac
}

# The process of the instance on SLOT: the child of its supervisor that has a stamp in its root.
instance_pid() {
    local supervisor pid
    for supervisor in $(supervisors_of "$1"); do
        for pid in $(pgrep -P "$supervisor"); do
            [[ -e /proc/$pid/root/stamp ]] && echo "$pid"
        done
    done
    return 0
}

containers_of() {
    local mark
    mark=$(realpath "$(blade_dir "$1")")
    runc --root /run/bladefs list -f json 2>/dev/null | tr '{' '\n' | grep -F "\"bundle\":\"$mark/" | grep -c . || true
}

settled() {
    local slot
    for slot in "${SLOTS[@]}"; do
        state_is "$slot" running ready stopped failed || return 1
    done
}

is_true() { # SLOT
    local slot=$1 state pid count image number
    state=$(<"$M/blades/$slot/state")
    image=$(<"$M/blades/$slot/load")
    pid=$(instance_pid "$slot")
    count=$(wc -w <<<"$pid")
    if [[ $state != running ]]; then
        [[ $count == 0 && $(containers_of "$slot") == 0 ]] || { echo "  $slot: $state, and pid $pid runs, $(containers_of "$slot") containers"; return 1; }
        # nothing was loaded yet, or its supervisor was killed: then it starts again when it is told to
        [[ $state == ready && ! -s $RACK_STATE/acknowledged.$slot ]] && return 0
        grep -qx "$slot" "$RACK_STATE/struck" || { echo "  $slot: $state: $(<"$M/blades/$slot/error")"; return 1; }
        [[ $state == ready ]] && return 0
        echo start >"$M/blades/$slot/run"
        is_true "$slot"
        return
    fi
    [[ $count == 1 && $(containers_of "$slot") == 1 ]] || { echo "  $slot: running, but $count processes, $(containers_of "$slot") containers"; return 1; }
    number=$(cut -d' ' -f2 "/proc/$pid/root/stamp")
    [[ $(cat "$M/running/$image/stamp") == "$slot $number" ]] || { echo "  $slot: runs $number, but is said to run $image"; return 1; }
    grep -qx "$number" "$RACK_STATE/may.$slot" || { echo "  $slot: runs $number, expected one of: $(tr '\n' ' ' <"$RACK_STATE/may.$slot")"; return 1; }
    [[ $(sha256sum <"/proc/$pid/root/data") == "$(<"$M/running/$image/sum")" ]] || { echo "  $slot: its data is not the source's"; return 1; }
    [[ $(sha256sum <"$M/running/$image/data") == "$(<"$M/running/$image/sum")" ]] || { echo "  $image: its data is not the source's"; return 1; }
}

entries() { # DIR [find's tests]
    find "$1" -mindepth 1 -maxdepth 1 "${@:2}" 2>/dev/null | wc -l
}

nothing_is_left() {
    local slot dir mounts
    mounts=$(findmnt -rno TARGET | grep "^$RACK_STATE/" || true)
    [[ $mounts == "$M" ]] || { echo "  mounts: $mounts"; return 1; }
    for slot in "${SLOTS[@]}"; do
        dir=$(blade_dir "$slot")
        (($(supervisors_of "$slot" | wc -l) <= 1)) || { echo "  $slot: supervisors: $(supervisors_of "$slot")"; return 1; }
        (($(entries "$dir/incoming") <= 1 && $(entries "$dir/images") <= 6)) || { echo "  $slot:" "$dir"/{incoming,images}/*; return 1; }
        (($(entries "$dir/trash") == 0 && $(entries "$dir/instance" -name 'gone-*') == 0)) || { echo "  $slot:" "$dir"/{trash,instance}/*; return 1; }
    done
}

test_01_kills_at_random() {
    local end=$(($(date +%s) + SOAK_S)) round=0 slot loads=()
    RANDOM=${SOAK_SEED:-$$}
    echo "  seed ${SOAK_SEED:-$$}"
    while (($(date +%s) < end)); do
        ((++round))
        : >"$RACK_STATE/struck"
        loads=()
        for slot in "${SLOTS[@]}"; do
            load_once "$slot" "$round" &
            loads+=($!)
        done
        keep_house &
        loads+=($!)
        sleep "$((RANDOM % 2)).$((RANDOM % 10))"
        kill_somebody
        ((RANDOM % 3)) || kill_somebody
        wait "${loads[@]}"
        within 20 settled
        for slot in "${SLOTS[@]}"; do within 5 is_true "$slot" >/dev/null || is_true "$slot"; done
        within 5 nothing_is_left || nothing_is_left
    done
    echo "  $round rounds"
    # whatever happened, everything goes on
    for slot in "${SLOTS[@]}"; do
        ((++round))
        change_source "$slot" "$round"
        echo "$round" >"$RACK_STATE/may.$slot"
        echo "own$slot" >"$M/blades/$slot/load"
        is_true "$slot"
        echo 1 >"$M/blades/$slot/unload"
        [[ -z $(instance_pid "$slot") && $(containers_of "$slot") == 0 ]]
    done
}

test_02_the_store_opens_and_is_whole() {
    rack_down
    rack_up
    find "$M/running" -type f -exec cat {} + >/dev/null
    echo full >"$M/store/fsck"
    cat "$M/store/fsck"
    grep -qx 'bad_chunks 0' "$M/store/fsck"
    echo gc >"$M/store/gc"
    cat "$M/store/gc"
    not grep -q '^error' "$M/store/gc"
    find "$M/running" -type f -exec cat {} + >/dev/null
    rack_down
    "$BLADEFS" --fsck "$STORE"
    rack_up
}
