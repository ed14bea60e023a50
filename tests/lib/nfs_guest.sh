#!/bin/sh
# /init of the guest of tests/mount/nfs_kernel.sh (busybox): the mount, as the kernel's own NFS client shows it. Says
# "result NAME 0" (or another status) for each check, and runs at last from a running snapshot.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
word() { # of the kernel's command line
    sed -n "s/.* $1=\([^ ]*\).*/\1/p" /proc/cmdline
}
port=$(word nfs_port) version=$(word nfs_version)

for module in virtio_pci virtio_net nfsv4; do modprobe "$module"; done
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up

nfs() { # PATH WHERE
    mkdir -p "$2"
    mount -t nfs4 -o "vers=$version,sync,noac,lookupcache=none,hard,sec=sys,port=$port,addr=10.0.2.2,clientaddr=10.0.2.15,$3" "10.0.2.2:$1" "$2"
}
member() { su member -c "$1"; }

check() { # NAME FUNCTION
    "$1" >/out 2>&1
    echo "result $1 $?"
    sed 's/^/    /' /out
}

says() { # WORDS COMMAND, as a member: it fails, and says so
    if member "$2" >/said 2>&1; then
        echo "it succeeded: $2"
        return 1
    fi
    grep -q "$1" /said || { echo "not «$1»:"; cat /said; return 1; }
}

it_mounts() {
    nfs /bladefs /mnt && grep ' /mnt nfs4 ' /proc/mounts && grep -q "vers=$version" /proc/mounts
}

a_snapshot_is_made() {
    mkdir -p /src/bin /src/etc && cp /bin/busybox /src/bin/ && echo text >/src/etc/text && ln -s busybox /src/bin/sh &&
        chmod 640 /src/etc/text && chown -R member:load /src &&
        member "mkdir /mnt/snapshots/guest && cp -a /src/. /mnt/snapshots/guest/ && ln -s text /mnt/snapshots/guest/etc/link &&
            chmod 604 /mnt/snapshots/guest/etc/text && echo 'busybox sleep 100000' >/mnt/snapshots/guest/.bladefs/exec" &&
        [ "$(member 'stat -c %a /mnt/snapshots/guest/etc/text')" = 604 ] &&
        [ "$(member 'readlink /mnt/snapshots/guest/etc/link')" = text ] &&
        member 'cmp /bin/busybox /mnt/snapshots/guest/bin/busybox'
}

it_is_loaded() {
    member 'echo guest >/mnt/blades/1/load' && [ "$(member 'cat /mnt/blades/1/load')" = guest@1 ] && [ "$(cat /mnt/blades/1/state)" = running ]
}

errors_reach_the_shell() {
    says 'No such file' 'echo nosuch >/mnt/blades/1/load' && grep -q nosuch /mnt/blades/1/error &&
        says 'Invalid argument' 'echo a/b >/mnt/blades/1/load' &&
        says 'No such device or address' 'echo guest >/mnt/blades/absent/load' &&
        says 'Read-only' 'mkdir /mnt/running/guest@1/x' &&
        says 'Permission denied' 'cat /mnt/blades/1/key'
}

# NFS has no ETXTBSY. What comes instead is not tried again for ever, and `error` explains it.
a_busy_file_is_an_error() {
    says 'Resource temporarily' 'exec 4>>/mnt/snapshots/guest/etc/text; echo more >&4; echo guest >/mnt/blades/1/load' &&
        grep -q 'open for writing' /mnt/blades/1/error
}

root_is_nobody() {
    ! cat /mnt/blades/1/key 2>/said && grep -q 'Permission denied' /said &&
        ! (echo guest >/mnt/blades/1/load) 2>/said && grep -q 'Permission denied' /said
}

control_files_are_whole() {
    for file in status store/stats blades/any/load blades/any/error blades/1/load blades/1/state blades/1/progress \
        blades/1/error blades/1/info snapshots/guest/.bladefs/exec snapshots/guest/.bladefs/stats; do
        member "cat /mnt/$file" >/whole || return 1
        [ "$(wc -c </whole)" = "$(member "stat -c %s /mnt/$file")" ] || { echo "$file"; return 1; }
    done
    member 'cat /mnt/blades/1/log'
}

all_is_listed() {
    member 'ls -lR /mnt' >/listed || return 1
    grep -q '1 -> ../../blades/1' /listed && grep -q 'guest@1' /listed && grep -q ' load$' /listed
}

# Two at once, from one client too, get a node each: neither waits for the other. That is what lookupcache=none is for.
two_loads_at_once() {
    member 'exec 4>>/mnt/snapshots/guest/etc/text; echo more >&4; echo guest >/mnt/blades/1/load' >/first 2>&1 &
    sleep 1
    says 'File exists' 'echo web >/mnt/blades/1/load'
    result=$?
    wait
    member 'grep -q ^guest@ /mnt/blades/1/load' && return $result
}

# The host restarts the controller below the export when it reads this. Who is in a directory stays there.
a_restart_is_survived() {
    member 'cd /mnt/snapshots/guest/etc && exec 5<text || exit 1
        echo "restart the controller" >/dev/console
        for n in $(seq 1 150); do
            [ ! -e /mnt/blades/restarted ] || break
            sleep 0.2
        done
        [ "$(cat text)" = "$(cat /src/etc/text)" ] && [ "$(cat <&5)" = "$(cat /src/etc/text)" ] &&
            echo new >made && [ "$(cat /mnt/snapshots/guest/etc/made)" = new ] && echo guest >/mnt/blades/1/load'
}

running_is_the_source() {
    member 'diff -r /src/bin /mnt/running/guest@1/bin && cmp /bin/busybox /mnt/running/guest@1/bin/busybox'
}

a_diskless_host_runs() {
    nfs /bladefs/running/web@1 /newroot ro && mount -t proc proc /newroot/proc &&
        [ "$(chroot /newroot /bin/busybox sh -c 'busybox cat /www/index.html')" = "from here" ] &&
        ! touch /newroot/x
}

check it_mounts
check a_snapshot_is_made
check it_is_loaded
check errors_reach_the_shell
check control_files_are_whole
check running_is_the_source
check all_is_listed
check root_is_nobody
chmod 666 /dev/console
check a_restart_is_survived
check two_loads_at_once
check a_busy_file_is_an_error
check a_diskless_host_runs
umount /mnt
mount -t devtmpfs dev /newroot/dev
# What follows is the image's busybox, and the file system of the guest is gone.
exec switch_root -c /dev/console /newroot /bin/sh -c '
    [ "$(busybox cat /www/index.html)" = "from here" ] && [ $$ = 1 ] && [ ! -e /init ]
    echo "result its_root_is_the_running_snapshot $?" >/dev/console
    echo o >/proc/sysrq-trigger; busybox sleep 10'
