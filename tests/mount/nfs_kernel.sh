#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# The mount over NFSv4 as the kernel's own client shows it: a guest with Debian's cloud kernel (QEMU without hardware
# acceleration), which reaches the server on this host's loopback interface. The checks are in tests/lib/nfs_guest.sh.
. "$TESTS/lib/nfs.sh"

file_setup() {
    need_fuse
    need_root
    need_ganesha
    command -v qemu-system-x86_64 >/dev/null || skip "there is no qemu-system-x86_64 (qemu-system-x86)"
    guest_make
    chmod 711 "$RACK_STATE"
    nfs_prepare
    rack_up
    snapshot web "busybox sleep 100000" "from here"
    blade_up 1
    echo web >"$M/blades/1/load"
    mkdir "$M/blades/absent"
    nfs_up
    chmod 755 "$M/running" # root of a diskless host is nobody here
    guest_run
}
file_teardown() {
    nfs_down
    blade_end 1
    rack_down
}

# The kernel, from its package, and an initial file system of busybox and the modules.
guest_make() {
    local guest=$RACK_STATE/guest package release
    mkdir -p "$guest/package" "$guest/root"/{bin,etc,lib/modules,mnt,newroot,proc,sys,dev,tmp}
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends:/ {print $2; exit}')
    [[ -n $package ]] || skip "no package of Debian's cloud kernel is known here (linux-image-cloud-amd64)"
    (cd "$guest" && timeout 90 apt-get download -qq "$package" >apt.log 2>&1) ||
        skip "Debian's cloud kernel cannot be had: $(tail -n 1 "$guest/apt.log")"
    dpkg-deb --fsys-tarfile "$guest"/*.deb | tar -x -C "$guest/package" --wildcards './boot/vmlinuz*' \
        './lib/modules/*/kernel/fs/nfs*' './lib/modules/*/kernel/fs/lockd' './lib/modules/*/kernel/fs/netfs' \
        './lib/modules/*/kernel/fs/fscache' './lib/modules/*/kernel/net/sunrpc' './lib/modules/*/kernel/net/dns_resolver' \
        './lib/modules/*/kernel/net/core' './lib/modules/*/kernel/drivers/virtio' \
        './lib/modules/*/kernel/drivers/net/virtio_net*' './lib/modules/*/kernel/drivers/net/net_failover*'
    cp -a "$guest/package/lib/modules/." "$guest/root/lib/modules/"
    release=$(ls "$guest/root/lib/modules")
    busybox depmod -b "$guest/root" "$release"
    cp "$(command -v busybox)" "$guest/root/bin/busybox"
    busybox --list | while read -r applet; do
        [[ $applet == busybox ]] || ln -s busybox "$guest/root/bin/$applet"
    done
    printf '%s\n' root:x:0:0::/:/bin/sh "member:x:1000:$NFS_GROUP::/:/bin/sh" >"$guest/root/etc/passwd"
    printf '%s\n' root:x:0: "load:x:$NFS_GROUP:" >"$guest/root/etc/group"
    install -m 755 "$TESTS/lib/nfs_guest.sh" "$guest/root/init"
    (cd "$guest/root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$guest/initrd"
}

guest_run() {
    local guest=$RACK_STATE/guest qemu
    : >"$guest/console"
    timeout -k 5 90 qemu-system-x86_64 -accel tcg -cpu max -m 320 -nodefaults -no-user-config -display none -no-reboot \
        -serial "file:$guest/console" -kernel "$(ls "$guest"/package/boot/vmlinuz*)" -initrd "$guest/initrd" \
        -append "console=ttyS0 quiet panic=-1 nfs_port=$NFS_PORT nfs_version=${NFS_VERSION:-4.1}" \
        -netdev user,id=net,ipv6=off -device virtio-net-pci,netdev=net,romfile= >"$guest/qemu.log" 2>&1 3>&- &
    qemu=$!
    if within 60 asks_or_ended "$qemu" && asks; then
        if nfs_restart && within 20 state_is 1 running; then
            mkdir "$M/blades/restarted"
        fi
    fi
    wait "$qemu" || {
        cat "$guest/qemu.log"
        tail -n 40 "$guest/console"
        return 1
    }
}

asks() {
    grep -q "^restart the controller" "$RACK_STATE/guest/console"
}

asks_or_ended() { # PID
    asks || ! kill -0 "$1"
}

passed() { # NAME
    local console=$RACK_STATE/guest/console
    tr -d '\r' <"$console" | sed -n "/^result $1 /,/^result /p" | sed '1!{/^result /d}' >"$RACK_STATE/said"
    [[ $(head -n 1 "$RACK_STATE/said") == "result $1 0" ]] || {
        cat "$RACK_STATE/said"
        [[ -s $RACK_STATE/said ]] || tail -n 30 "$console"
        return 1
    }
}

test_it_mounts() { passed it_mounts; }
test_a_snapshot_is_made() { passed a_snapshot_is_made; }
test_it_is_loaded() { passed it_is_loaded; }
test_errors_reach_the_shell() { passed errors_reach_the_shell; }
test_control_files_are_whole() { passed control_files_are_whole; }
test_running_is_the_source() { passed running_is_the_source; }
test_all_is_listed() { passed all_is_listed; }
test_root_is_nobody() { passed root_is_nobody; }
test_a_restart_is_survived() {
    case $(stat -f -c %T "$STORE") in
        ext2/ext3 | xfs | btrfs) passed a_restart_is_survived || { cat "$RACK_STATE/nfs.restart"; return 1; } ;;
        *) skip "the store's file system has no handles that last" ;;
    esac
}
test_two_loads_at_once() { passed two_loads_at_once; }
test_a_busy_file_is_an_error() { passed a_busy_file_is_an_error; }
test_a_diskless_host_runs() { passed a_diskless_host_runs; }
test_its_root_is_the_running_snapshot() { passed its_root_is_the_running_snapshot; }
