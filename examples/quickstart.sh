#!/usr/bin/env bash
# The whole thing on this host in a minute: a controller on a store and a mount of its own, two blades (agents in
# network namespaces of their own), a web server loaded on both.
#
#   examples/quickstart.sh          does it and leaves it up, to play with
#   examples/quickstart.sh --once   does it, checks it and takes everything down again
#   examples/quickstart.sh --down   takes it down
#
# RACK (default /rack) is the mount, QUICK (default /var/tmp/bladefs-quickstart) holds everything else.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
RACK=${RACK:-/rack}
QUICK=${QUICK:-/var/tmp/bladefs-quickstart}
build=$here/../build
net=10.99.77
bridge=bladefs0
port=7420

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
show() {
    printf '\033[36m$ %s\033[0m\n' "$*"
    "$@"
}
run() { # a line for a shell, shown as one would type it
    printf '\033[36m$ %s\033[0m\n' "$1"
    bash -c "$1"
}
die() {
    echo "quickstart: $*" >&2
    exit 1
}

within() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.05
    done
}

alive() {
    [[ -e $1 ]] && kill -0 "$(<"$1")" 2>/dev/null
}

end_of() { # PIDFILE: TERM, and wait
    local pid
    [[ -e $1 ]] || return 0
    pid=$(<"$1")
    rm -f "$1"
    kill "$pid" 2>/dev/null || return 0
    within 20 not_alive "$pid" || kill -KILL "$pid" 2>/dev/null || true
}
not_alive() { ! kill -0 "$1" 2>/dev/null; }

down() {
    local i
    for i in 1 2; do
        if alive "$QUICK/bladefs.pid" && [[ -e $RACK/blades/$i/unload ]]; then
            timeout 30 bash -c "echo 1 >'$RACK/blades/$i/unload'" 2>/dev/null || true
        fi
        end_of "$QUICK/blade-$i.pid"
    done
    end_of "$QUICK/bladefs.pid"
    if mountpoint -q "$RACK" 2>/dev/null; then umount "$RACK" || umount -l "$RACK"; fi
    for i in 1 2; do ip netns del "bladefs-$i" 2>/dev/null || true; done
    ip link del "$bridge" 2>/dev/null || true
    rm -rf --one-file-system "$QUICK"
    [[ ! -d $RACK ]] || rmdir "$RACK" 2>/dev/null || true
}

install_missing() {
    local wanted missing package
    wanted="gcc meson ninja-build pkg-config libfuse3-dev fuse3 libxxhash-dev libzstd-dev liburing-dev libssl-dev
        libsqlite3-dev libjansson-dev libcmocka-dev runc tini busybox-static iproute2 curl util-linux"
    missing=
    for package in $wanted; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=" $package"
    done
    [[ -n $missing ]] || return 0
    say "apt installs:$missing"
    apt-get update -q >"$QUICK/apt.log" 2>&1
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing >>"$QUICK/apt.log" 2>&1 ||
        { tail -n 5 "$QUICK/apt.log"; die "apt could not install them"; }
}

network() { # a bridge with the controller's address, and two namespaces on it
    local i
    ip link add "$bridge" type bridge
    ip addr add "$net.1/24" dev "$bridge"
    ip link set "$bridge" up
    for i in 1 2; do
        ip netns add "bladefs-$i"
        # pinned addresses: a new random one after a re-creation costs seconds of stale ARP
        ip link add "bladefs-v$i" address "02:bf:00:00:01:0$i" type veth peer name eth0 address "02:bf:00:00:00:0$i" netns "bladefs-$i"
        ip link set "bladefs-v$i" master "$bridge" up
        ip -n "bladefs-$i" addr add "$net.1$i/24" dev eth0
        ip -n "bladefs-$i" link set eth0 up
        ip -n "bladefs-$i" link set lo up
    done
}

mounted() { [[ -d $RACK/blades && -d $RACK/snapshots ]]; }
ready() { grep -q ready "$RACK/blades/$1/state"; }

up() {
    [[ $(id -u) == 0 ]] || die "run it as root: it mounts, makes network namespaces and starts containers"
    [[ -c /dev/fuse ]] || die "there is no /dev/fuse"
    if alive "$QUICK/bladefs.pid"; then die "it is up already; examples/quickstart.sh --down ends it"; fi
    ! mountpoint -q "$RACK" || die "$RACK is a mount already (RACK=DIR names another place)"
    down # what an earlier, broken one left
    mkdir -p "$QUICK" "$RACK"
    chmod 700 "$QUICK"
    install_missing

    say "building"
    [[ -e $build/build.ninja ]] || meson setup "$build" "$here/.." >"$QUICK/build.log" 2>&1 ||
        { tail "$QUICK/build.log"; die "meson setup failed"; }
    ninja -C "$build" >"$QUICK/build.log" 2>&1 || { tail -n 30 "$QUICK/build.log"; die "the build failed"; }
    network

    say "the controller: a store, and a mount that is its whole interface"
    printf '\033[36m$ %s\033[0m\n' "bladefs $QUICK/store $RACK -o listen=$net.1:$port"
    setsid "$build/fs/bladefs" "$QUICK/store" "$RACK" -f -o "listen=$net.1:$port" >"$QUICK/bladefs.log" 2>&1 </dev/null &
    echo $! >"$QUICK/bladefs.pid"
    within 15 mounted || { tail "$QUICK/bladefs.log"; die "the controller did not come up"; }

    say "two slots, and an agent for each with the slot's key (in reality: on another machine)"
    run "mkdir $RACK/blades/1 $RACK/blades/2"
    local i
    for i in 1 2; do
        (umask 077 && cat "$RACK/blades/$i/key" >"$QUICK/blade-$i.key")
        setsid nsenter --net="/run/netns/bladefs-$i" "$build/engine/agent/bladed" -c "$net.1:$port" \
            -k "$QUICK/blade-$i.key" -d "$QUICK/blade-$i" >"$QUICK/blade-$i.log" 2>&1 </dev/null &
        echo $! >"$QUICK/blade-$i.pid"
    done
    for i in 1 2; do
        within 15 ready "$i" || { tail "$QUICK/blade-$i.log"; die "blade $i did not connect"; }
    done
    run "cat $RACK/status"
}

make_root() { # a root filesystem of a web server
    mkdir -p "$QUICK/rootfs"/{bin,etc,www,tmp,proc,sys,dev}
    cp "$(command -v busybox)" "$QUICK/rootfs/bin/busybox"
    ln -sf busybox "$QUICK/rootfs/bin/httpd"
    ln -sf busybox "$QUICK/rootfs/bin/sh"
    echo 'root:x:0:0:root:/:/bin/sh' >"$QUICK/rootfs/etc/passwd"
    echo '<h1>hello from a blade</h1>' >"$QUICK/rootfs/www/index.html"
}

fetch() {
    show curl -sS --retry 3 --retry-connrefused --max-time 5 "http://$1:8080/"
}

demo() {
    say "a source snapshot: an ordinary directory with a root filesystem, and the command that it runs"
    make_root
    run "mkdir $RACK/snapshots/web && cp -a $QUICK/rootfs/. $RACK/snapshots/web/"
    run "echo '/bin/httpd -f -p 8080 -h /www' >$RACK/snapshots/web/.bladefs/exec"

    say "load it on blade 1: the echo returns when it runs there"
    run "echo web >$RACK/blades/1/load"
    run "cat $RACK/blades/1/state $RACK/blades/1/load $RACK/blades/1/progress"
    fetch "$net.11"

    say "and on any other blade that is free; the same open file says which"
    run "exec 3<>$RACK/blades/any/load; echo web >&3; read slot image <&3; echo \"\$image runs on blade \$slot\""
    fetch "$net.12"

    say "what is where"
    run "ls -l $RACK/state/running $RACK/running"
    run "ls -l $RACK/blades/1"
    run "cat $RACK/status"

    say "change one file and load again: only that goes over"
    run "echo '<h1>hello again</h1>' >$RACK/snapshots/web/www/index.html"
    run "echo web >$RACK/blades/1/load"
    run "cat $RACK/blades/1/load $RACK/blades/1/progress"
    fetch "$net.11"
}

check() { # what --once promises
    local i
    for i in 1 2; do
        [[ $(<"$RACK/blades/$i/state") == running ]] || die "blade $i is $(<"$RACK/blades/$i/state")"
    done
    [[ $(<"$RACK/blades/1/load") == web@2 && $(<"$RACK/blades/2/load") == web@1 ]] || die "not the images that were loaded"
    curl -sf --max-time 5 "http://$net.11:8080/" | grep -q 'hello again' || die "blade 1 serves another page"
    curl -sf --max-time 5 "http://$net.12:8080/" | grep -q 'hello from a blade' || die "blade 2 serves another page"
    grep -q ' sent [0-9.]*\(B\|KiB\) ' "$RACK/blades/1/progress" || die "more than a few bytes went over: $(<"$RACK/blades/1/progress")"
    [[ $(ls "$RACK/state/running" | wc -l) == 2 ]] || die "state/running does not list both"
}

case ${1-} in
    --down)
        down
        ;;
    --once)
        trap down EXIT
        up
        demo
        check
        echo
        echo "quickstart: everything works"
        ;;
    '')
        up
        demo
        cat <<END

It is up. Try:
  watch cat $RACK/status
  tail -f $RACK/blades/1/log
  echo web@1 >$RACK/blades/1/load          # back to the first image: nothing is sent
  diff -r $RACK/running/web@1 $RACK/snapshots/web
  echo restart >$RACK/blades/2/run
  echo 1 >$RACK/blades/2/unload; ls $RACK/state/ready
  examples/quickstart.sh --down            # ends it all
END
        ;;
    *)
        sed -n '2,9s/^# \{0,1\}//p' "$0"
        exit 1
        ;;
esac
