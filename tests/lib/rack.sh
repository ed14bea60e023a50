#!/usr/bin/env bash
# A rack for tests: one controller and agents of one's own, below RACK_STATE. Everything that is started is noted there
# (pids, mounts, namespaces), so that rack_sweep can end it from any later shell, whatever happened.
#
#   rack_up [bladefs options]   a controller on a store and a mount; sets STORE, M (the mount), PORT
#   rack_down                   ends it by SIGTERM and waits; fails when it does not end well
#   blade_up SLOT [bladed options]   makes the slot when needed and starts an agent for it; waits until it is connected
#   blade_down SLOT / blade_kill SLOT   SIGTERM / SIGKILL of the agent (its instance goes on)
#   blade_end SLOT              ends agent, supervisor and instance
# shellcheck disable=SC2034  # what is set here is used by the suites

: "${RACK_STATE:?}"
BLADEFS=${BUILD:-}/fs/bladefs
BLADED=${BUILD:-}/engine/agent/bladed
STORE=$RACK_STATE/store
M=$RACK_STATE/mnt
[[ -e $RACK_STATE/port ]] && PORT=$(<"$RACK_STATE/port")

need_root() {
    [[ $(id -u) == 0 ]] || skip "needs root"
}

need_fuse() {
    [[ -c /dev/fuse ]] || skip "there is no /dev/fuse"
}

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# The port of the suite's web server: one that was free when it was first asked for.
web_port() {
    [[ -e $RACK_STATE/web.port ]] || free_port >"$RACK_STATE/web.port"
    cat "$RACK_STATE/web.port"
}

# until SECONDS COMMAND...: tries every 20 ms until it succeeds.
within() {
    local end=$(($(date +%s%N) + ${1} * 1000000000))
    shift
    while ! "$@" 2>/dev/null; do
        if (($(date +%s%N) > end)); then
            echo "  not within its time: $*" >&2
            return 1
        fi
        sleep 0.02
    done
}

is_mounted() {
    [[ $(stat -f -c %T "$M" 2>/dev/null) == fuseblk || $(findmnt -no FSTYPE --mountpoint "$M") == fuse.bladefs ]]
}

rack_up() {
    [[ -n ${PORT-} ]] || PORT=$(free_port)
    echo "$PORT" >"$RACK_STATE/port"
    mkdir -p "$M" 2>/dev/null || findmnt --mountpoint "$M" >/dev/null # a dead mount is one, too
    "$BLADEFS" "$STORE" "$M" -f -o "listen=127.0.0.1:$PORT" "$@" >>"$RACK_STATE/bladefs.log" 2>&1 3>&- &
    echo $! >"$RACK_STATE/bladefs.pid"
    within 20 rack_is_up || {
        tail -n 20 "$RACK_STATE/bladefs.log" >&2
        return 1
    }
}

rack_is_up() {
    [[ -d $M/snapshots && -d $M/blades ]]
}

# Gone, or a zombie of which no other thread is left: until then its locks are held.
process_gone() {
    local tasks
    tasks=$(ls "/proc/$1/task" 2>/dev/null) || return 0
    [[ $(wc -w <<<"$tasks") == 1 && $(awk '/^State/ {print $2}' "/proc/$1/status" 2>/dev/null) == [ZX] ]] || [[ ! -e /proc/$1 ]]
}

end_pid() { # SIGNAL PIDFILE
    local pid
    pid=$(<"$2") || return 0
    rm -f "$2"
    kill "-$1" "$pid" 2>/dev/null || return 0
    kill -CONT "$pid" 2>/dev/null || true # a test that failed may have left it frozen
    within 30 process_gone "$pid"
}

rack_down() {
    end_pid TERM "$RACK_STATE/bladefs.pid"
    within 5 not is_mounted
    sanitizers_are_silent "$RACK_STATE/bladefs.log"
}

rack_kill() {
    end_pid KILL "$RACK_STATE/bladefs.pid"
    umount -l "$M" 2>/dev/null || fusermount3 -uz "$M"
}

not() {
    ! "$@"
}

sanitizers_are_silent() {
    ! grep -E 'ERROR: (Address|Leak|Thread)Sanitizer|WARNING: ThreadSanitizer|runtime error:' "$@"
}

blade_dir() {
    echo "$RACK_STATE/blade-$1"
}

blade_start() { # SLOT [bladed options]: the key is in place
    local slot=$1 dir
    dir=$(blade_dir "$slot")
    shift
    mkdir -p "$dir"
    "$BLADED" -c "127.0.0.1:$PORT" -k "$dir.key" -d "$dir" "$@" >>"$dir.log" 2>&1 3>&- &
    echo $! >"$dir.pid"
}

blade_up() {
    local slot=$1
    [[ -d $M/blades/$slot ]] || mkdir "$M/blades/$slot"
    cat "$M/blades/$slot/key" >"$(blade_dir "$slot").key"
    chmod 600 "$(blade_dir "$slot").key"
    blade_start "$@"
    within 20 blade_is_connected "$slot" || {
        tail -n 20 "$(blade_dir "$slot").log" >&2
        return 1
    }
}

state_is() { # SLOT STATE...
    local slot=$1 now
    shift
    now=$(<"$M/blades/$slot/state")
    [[ " $* " == *" $now "* ]]
}

blade_is_connected() {
    not state_is "$1" absent lost
}

blade_down() {
    end_pid TERM "$(blade_dir "$1").pid"
    sanitizers_are_silent "$(blade_dir "$1").log"
}

blade_kill() {
    end_pid KILL "$(blade_dir "$1").pid"
}

# The processes whose command line is a supervisor of that agent directory, and only those.
supervisors_of() {
    local dir
    dir=$(realpath "$(blade_dir "$1")") || return 0
    pgrep -f -- "--supervise $dir/" || true
}

blade_end() {
    local slot=$1 dir pid
    dir=$(blade_dir "$slot")
    if [[ -e $dir.pid ]] && is_mounted && timeout 2 ls "$M/blades/$slot" >/dev/null 2>&1 && blade_is_connected "$slot"; then
        timeout 20 bash -c "echo 1 >'$M/blades/$slot/unload'" 2>/dev/null || true
    fi
    end_pid TERM "$dir.pid" || true
    for pid in $(supervisors_of "$slot"); do
        kill -TERM "$pid" 2>/dev/null || true
        within 5 process_gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
    done
}

# Ends everything of this RACK_STATE. Never fails.
rack_sweep() {
    local key slot name
    set +e
    for key in "$RACK_STATE"/blade-*.key; do
        [[ -e $key ]] || continue
        slot=${key##*/blade-}
        blade_end "${slot%.key}"
    done
    [[ -e $RACK_STATE/bladefs.pid ]] && end_pid TERM "$RACK_STATE/bladefs.pid"
    [[ -e $RACK_STATE/bladefs.pid ]] && end_pid KILL "$RACK_STATE/bladefs.pid"
    findmnt -rno TARGET | grep "^$RACK_STATE/" | sort -r | while read -r name; do
        umount "$name" 2>/dev/null || umount -l "$name"
    done
    return 0
}

# A small root filesystem of busybox in the directory $1, with a page that says $2.
busybox_root() {
    mkdir -p "$1"/{bin,etc,www,tmp,proc,sys,dev}
    cp "$(command -v busybox)" "$1/bin/busybox"
    ln -sf busybox "$1/bin/sh"
    ln -sf busybox "$1/bin/sleep"
    echo "root:x:0:0:root:/:/bin/sh" >"$1/etc/passwd"
    echo "${2:-hello}" >"$1/www/index.html"
}

# snapshot NAME EXEC [PAGE]: a source snapshot of busybox that runs EXEC.
snapshot() {
    mkdir -p "$M/snapshots/$1"
    busybox_root "$RACK_STATE/root-$1" "${3:-}"
    cp -a "$RACK_STATE/root-$1/." "$M/snapshots/$1/"
    echo "$2" >"$M/snapshots/$1/.bladefs/exec"
}

# The errno's name that COMMAND's write failed with, as the shell says it.
fails_with() { # WORDS COMMAND...
    local words=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "  it succeeded: $*" >&2
        return 1
    fi
    [[ $output == *"$words"* ]] || {
        echo "  expected «$words», got «$output»: $*" >&2
        return 1
    }
}

write_to() { # FILE VALUE
    printf '%s\n' "$2" >"$1"
}
