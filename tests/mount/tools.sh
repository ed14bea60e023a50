#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# What people do in a source snapshot: git, make and gcc, rsync there and back, debootstrap and apt-get in a chroot.
# LONG=1, with TEST_TIMEOUT_S=900: debootstrap straight into the mount, too, which takes minutes under ASan.
# MOUNT_OPTIONS=nopassthrough: without that.
file_setup() {
    need_fuse
    need_root
    rack_up -o suid,dev ${MOUNT_OPTIONS:+-o "$MOUNT_OPTIONS"}
    mkdir "$M/snapshots/tools"
}
file_teardown() { rack_down; }

D=$M/snapshots/tools
long() { [[ ${LONG:-0} != 0 ]]; }

need() {
    command -v "$1" >/dev/null || skip "$1 is not installed"
}

G=(git -c user.name=t -c user.email=t@example.org -c gc.auto=0 -c protocol.file.allow=always)

test_git_clone() {
    local from=$RACK_STATE/origin i
    git init -q "$from"
    cd "$from"
    for i in {1..30}; do
        mkdir -p "dir$((i % 7))/sub"
        seq "$i" $((i * 200)) >"dir$((i % 7))/sub/file$i"
        ln -sf "sub/file$i" "dir$((i % 7))/link$i"
        "${G[@]}" add -A
        "${G[@]}" commit -qm "commit $i"
    done
    chmod +x dir1/sub/file1
    "${G[@]}" commit -qam executable
    git branch other HEAD~20
    "${G[@]}" clone -q --no-local "$from" "$D/clone"
    "${G[@]}" clone -q --no-hardlinks "$D/clone" "$D/second"
    "${G[@]}" clone -q "$D/clone" "$D/linked" # objects are hard links
    (($(stat -c %h "$(find "$D/linked/.git/objects" -type f | head -n 1)") > 1))
    for i in clone second linked; do
        cd "$D/$i"
        git fsck --full --strict
        [[ -z $(git status --porcelain) ]]
        diff -r --no-dereference --exclude=.git "$from" .
    done
    cd "$D/clone"
    git checkout -q other
    [[ $(git ls-files | wc -l) == $(find . -path ./.git -prune -o \( -type f -o -type l \) -print | wc -l) ]]
    git checkout -q -
    echo change >>dir1/sub/file1
    [[ $(git status --porcelain) == " M dir1/sub/file1" ]]
    git stash -q 2>/dev/null || "${G[@]}" stash -q
    git repack -qad
    git gc -q --prune=now
    git fsck --full --strict
    cd /
    rm -r "$D"/{clone,second,linked}
}

# Sources with dependencies: nothing is built twice, what changed is, objects and archives are what they are natively.
test_make_and_gcc() {
    local i at
    for at in "$D/build" "$RACK_STATE/native"; do
        mkdir "$at"
        cd "$at"
        for i in {1..12}; do
            printf '#include "all.h"\nint f%d(int x) { return x + %d; }\n' "$i" "$i" >"f$i.c"
            echo "int f$i(int);"
        done >all.h
        { printf '#include <stdio.h>\n#include "all.h"\nint main(void) { int n = 0;\n'
            for i in {1..12}; do echo "n = f$i(n);"; done
            printf 'printf("%%d\\n", n); return 0; }\n'; } >main.c
        cat >Makefile <<'END'
CFLAGS = -O1 -g0 -MMD
LIB = $(patsubst %.c,%.o,$(wildcard f*.c))
main: main.o libf.a
	$(CC) -o $@ main.o -L. -lf
libf.a: $(LIB)
	$(AR) rcD $@ $(LIB)
-include *.d
END
        make -s -j4
        [[ $(./main) == 78 ]]
    done
    cmp "$RACK_STATE/native/main" "$D/build/main"
    cmp "$RACK_STATE/native/libf.a" "$D/build/libf.a"
    cd "$D/build"
    make -q || { echo "  built, and make does not know it"; make -n; return 1; }
    sleep 0.05
    touch f3.c
    [[ $(make -n | grep -c ' -c ') == 1 ]]
    make -s
    make -q
    cd /
    rm -r "$D/build"
}

odd_tree() { # DIRECTORY
    mkdir -p "$1"/{dir/sub,empty,acl}
    cd "$1"
    seq 1 20000 >dir/numbers
    ln dir/numbers dir/sub/hard && ln dir/numbers hard
    ln -s dir/numbers soft && ln -s /nowhere/at/all dangling && ln -s . self
    mknod null c 1 3 && mknod disk b 7 200 && mknod big c 4095 1048575 && mkfifo fifo
    ln null null-again && ln fifo fifo-again && ln soft soft-again
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
    truncate -s 200M sparse
    printf 'begin' | dd of=sparse conv=notrunc status=none
    printf 'middle' | dd of=sparse bs=1M seek=150 conv=notrunc status=none
    truncate -s 10M all-hole
    : >'new
line' && : >'back\slash' && : >'  spaces  ' && : >'-rf' && : >'*' && : >$'\xff\xfe\x80' && : >'"'"'" && : >ünï && : >'~'
    : >"$(printf 'n%.0s' {1..255})"
    mkdir -p "$(printf 'd%.0s' {1..255})/$(printf 'e%.0s' {1..255})"
    setfattr -n user.note -v hello dir/numbers
    setfattr -n user.binary -v 0x000102ff dir
    setfattr -n trusted.secret -v root dir/numbers
    setfattr -n user.large -v "$(head -c 3000 /dev/zero | tr '\0' x)" empty
    setcap cap_net_raw+ep hard
    : >acl/file
    setfacl -m u:1000:rwx,g:2000:r acl/file
    setfacl -m d:u:1000:rwx,u:1001:x acl
    chown 12345:54321 acl/file && chown -h 1:2 soft dangling && chown 4000000000:4000000001 null
    chmod 6755 'back\slash' && chmod 1777 empty && chmod 000 '*'
    touch -d '2001-02-03 04:05:06.123456789' 'back\slash'
    touch -h -d '1999-01-01 00:00:00.5' soft
    touch -d '2040-06-07 08:09:10' '*'
    touch -d '1969-01-01' -- -rf
    touch -d '1999-12-31 23:59:59.5' dir empty
    cd /
}

# -@-1: to the nanosecond; else rsync leaves what differs by less than a second.
same() { # FROM TO: by rsync's eyes, and by ours
    rsync -@-1 -aHAXSn --checksum --delete --itemize-changes "$1/" "$2/" >"$RACK_STATE/diff"
    [[ ! -s $RACK_STATE/diff ]] || { cat "$RACK_STATE/diff"; return 1; }
    listing "$1" >"$RACK_STATE/one"
    listing "$2" >"$RACK_STATE/two"
    diff "$RACK_STATE/one" "$RACK_STATE/two"
}

listing() { # mode, owner, links, device, size, times, name, target; a directory's size is its file system's own affair
    (cd "$1" && find . -type d -printf '%M %U:%G %T@ %p\0' -o -printf '%M %U:%G %n %s %T@ %p -> %l\0' | sort -z | tr '\0\n' '\n ')
    (cd "$1" && find . \( -type b -o -type c \) -exec stat -c '%n %t:%T' {} + | sort)
}

test_rsync_there_and_back() {
    odd_tree "$RACK_STATE/odd"
    rsync -@-1 -aHAXS "$RACK_STATE/odd/" "$D/odd/"
    same "$RACK_STATE/odd" "$D/odd"
    (($(stat -c %b "$D/odd/sparse") < 100))
    rsync -@-1 -aHAXS "$D/odd/" "$RACK_STATE/back/"
    same "$RACK_STATE/odd" "$RACK_STATE/back"
    same "$D/odd" "$RACK_STATE/back"
    # and a second time, over what is there: nothing is sent; then what changed
    rsync -@-1 -aHAXS --itemize-changes "$RACK_STATE/odd/" "$D/odd/" >"$RACK_STATE/again"
    [[ ! -s $RACK_STATE/again ]]
    echo more >>"$RACK_STATE/odd/dir/numbers"
    rm "$RACK_STATE/odd/soft-again"
    rsync -@-1 -aHAXS --delete "$RACK_STATE/odd/" "$D/odd/"
    same "$RACK_STATE/odd" "$D/odd"
    rm -r "$D/odd" "$RACK_STATE/odd" "$RACK_STATE/back"
}

# Made by any of them, in the mount, it is found to differ when it does.
test_the_comparison_finds_a_difference() {
    mkdir -p "$RACK_STATE/p" "$D/p"
    echo a >"$RACK_STATE/p/f" && cp -a "$RACK_STATE/p/f" "$D/p/f"
    touch -r "$RACK_STATE/p" "$D/p"
    same "$RACK_STATE/p" "$D/p"
    setfattr -n user.x -v y "$D/p/f"
    ! same "$RACK_STATE/p" "$D/p" >/dev/null
    rm -r "$D/p" "$RACK_STATE/p"
}

package() { # VERSION: builds a package with all that dpkg has to care for
    local dir=$RACK_STATE/package-$1
    mkdir -p "$dir/DEBIAN" "$dir/etc" "$dir/usr/bin" "$dir/usr/lib/thing"
    printf 'Package: thing\nVersion: %s\nArchitecture: all\nMaintainer: t <t@example.org>\nDescription: t\n' "$1" >"$dir/DEBIAN/control"
    echo /etc/thing.conf >"$dir/DEBIAN/conffiles"
    printf '#!/bin/sh\necho "configured $2 -> $(cat /usr/lib/thing/version)" >>/thing.log\n' >"$dir/DEBIAN/postinst"
    chmod 755 "$dir/DEBIAN/postinst"
    echo "conf" >"$dir/etc/thing.conf"
    echo "$1" >"$dir/usr/lib/thing/version"
    cp "$(command -v busybox)" "$dir/usr/bin/thing"
    chmod 4755 "$dir/usr/bin/thing"
    ln "$dir/usr/bin/thing" "$dir/usr/bin/thing-again"
    ln -s thing "$dir/usr/bin/thing-link"
    seq 1 2000 | while read -r n; do echo "$1 $n" >"$dir/usr/lib/thing/file$n"; done
    dpkg-deb --root-owner-group -Znone -b "$dir" "$RACK_STATE/thing_$1.deb" >/dev/null
}

# The short form of the next test: dpkg unpacks, syncs, renames and runs scripts in a chroot.
test_dpkg_in_a_chroot() {
    need dpkg-deb
    local root=$D/small
    busybox_root "$root"
    ln -s busybox "$root/bin/cat"
    mkdir -p "$root"/var/lib/dpkg/{info,updates}
    : >"$root/var/lib/dpkg/status"
    package 1.0
    package 2.0
    dpkg --root="$root" -i "$RACK_STATE/thing_1.0.deb"
    [[ $(<"$root/thing.log") == "configured  -> 1.0" ]]
    echo mine >>"$root/etc/thing.conf"
    dpkg --root="$root" --force-confold -i "$RACK_STATE/thing_2.0.deb"
    [[ $(tail -n 1 "$root/thing.log") == "configured 1.0 -> 2.0" ]]
    [[ $(tail -n 1 "$root/etc/thing.conf") == mine ]]
    [[ $(stat -c '%a %h %u' "$root/usr/bin/thing-again") == "4755 2 0" ]]
    [[ $(cat "$root"/usr/lib/thing/file* | grep -c '^2.0 ') == 2000 ]]
    [[ $(dpkg --root="$root" --verify) == *"/etc/thing.conf"* && $(dpkg --root="$root" --verify | wc -l) == 1 ]]
    [[ -z $(find "$root" -name '*.dpkg-*') ]]
    dpkg --root="$root" --purge thing
    [[ ! -e $root/usr/lib/thing && ! -e $root/etc/thing.conf ]]
    rm -r "$root" "$RACK_STATE"/package-* "$RACK_STATE"/thing_*
}

mirror() {
    apt-get indextargets --format '$(SITE)' 2>/dev/null | grep -v security | head -n 1
}

test_debootstrap_and_apt_in_a_chroot() {
    long || skip "LONG=1 runs it: debootstrap takes minutes"
    need debootstrap
    local site root=$D/debian
    site=$(mirror)
    [[ -n $site ]] || skip "apt has no mirror here"
    apt-get update -q >/dev/null 2>&1 || skip "apt's mirror is out of reach"
    debootstrap --variant=minbase "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root" "$site" >"$RACK_STATE/boot.log" 2>&1 || {
        tail -n 20 "$RACK_STATE/boot.log" "$root/debootstrap/debootstrap.log"
        return 1
    }
    cat /etc/resolv.conf >"$root/etc/resolv.conf"
    cat /etc/hosts >"$root/etc/hosts"
    [[ ! -d /etc/apt/apt.conf.d ]] || cp -n /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
    echo x | chroot "$root" tee /dev/null # device nodes work
    DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get update -q
    DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -qy --no-install-recommends file sudo >"$RACK_STATE/apt.log" 2>&1 || {
        tail -n 20 "$RACK_STATE/apt.log"
        return 1
    }
    [[ $(chroot "$root" file -b /usr/bin/file) == *ELF* ]]
    [[ $(chroot "$root" dpkg --audit) == "" ]]
    # set-user-id programs are that: a user who is nobody sees root's id
    chmod 755 "$RACK_STATE" "$M/snapshots" "$D"
    cp "$root/usr/bin/id" "$root/usr/bin/id-of-root"
    chmod 4755 "$root/usr/bin/id-of-root"
    [[ $(setpriv --reuid 4321 --regid 4321 --clear-groups chroot "$root" true 2>&1) != "" ]] # may not chroot
    [[ $(chroot --userspec=4321:4321 "$root" id-of-root -u) == 0 ]]
    chroot "$root" dpkg --verify >"$RACK_STATE/verify"
    [[ ! -s $RACK_STATE/verify ]] || { cat "$RACK_STATE/verify"; return 1; }
    rsync -@-1 -aHAXS "$root/" "$RACK_STATE/debian/"
    same "$root" "$RACK_STATE/debian"
    rm -r "$root" "$RACK_STATE/debian"
}

# The short form: set-id bits and devices work below the mount.
test_devices_and_set_user_id() {
    chmod 755 "$RACK_STATE" "$M/snapshots" "$D"
    mknod -m 666 "$D/null" c 1 3
    echo x >"$D/null"
    [[ ! -s $D/null ]]
    cp "$(command -v id)" "$D/id"
    chmod 4755 "$D/id"
    [[ $(setpriv --reuid 4321 --regid 4321 --clear-groups "$D/id" -u) == 0 ]]
    setpriv --reuid 4321 --regid 4321 --clear-groups bash -c "! echo x >>'$D/id'" 2>/dev/null
    [[ $(stat -c %a "$D/id") == 4755 ]]
    rm "$D/null" "$D/id"
}
