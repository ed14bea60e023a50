#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# Access: modes, owners and ACLs of snapshots and of slots, and three users who may load different things at
# different places. The users are numbers; nothing needs to know them.
A=20001 B=20002 C=20003 OPS=20010 GUESTS=20011

as() { # USER GROUP[,GROUP...] COMMAND...
    local user=$1 groups=$2
    shift 2
    setpriv --reuid "$user" --regid "${groups%%,*}" --groups "$groups" "$@"
}

as_a() { as $A $A "$@"; }
as_b() { as $B "$B,$OPS" "$@"; }
as_c() { as $C "$C,$GUESTS,$OPS" "$@"; }

may() { "$@" >/dev/null; }
may_not() { fails_with "Permission denied" "$@"; }
not_permitted() { fails_with "Operation not permitted" "$@"; }
not_supported() { fails_with "Operation not supported" "$@"; }

file_setup() {
    need_fuse
    need_root
    chmod 755 "$RACK_STATE"
    rack_up
    chmod 711 "$M/snapshots"
    blade_up 1
    blade_up 2
    snapshot web "/bin/sleep 1000"
    snapshot alpha "/bin/sleep 1001"
}
file_teardown() {
    blade_end 1
    blade_end 2
    rack_down
}

test_01_every_user_sees_roots_mount() {
    as_c grep -q . "$M/status"
    [[ $(as_c ls "$M") == $'blades\nrunning\nsnapshots\nstate\nstatus\nstore' ]]
    [[ ,$(findmnt -no OPTIONS "$M"), == *,allow_other,* && ,$(findmnt -no OPTIONS "$M"), == *,default_permissions,* ]]
}

test_02_modes_are_enforced() {
    local s=$M/snapshots/modes
    mkdir "$s" && chmod 1777 "$s"
    as_a mkdir "$s/private" && as_a chmod 700 "$s/private"
    as_a bash -c "echo a >'$s/file' && chmod 640 '$s/file'"
    may_not as_b cat "$s/file"
    may_not as_b bash -c "echo b >>'$s/file'"
    may_not as_b ls "$s/private"
    may_not as_b touch "$s/private/x"
    may_not as_b truncate -s 0 "$s/file"
    not_permitted as_b chmod 666 "$s/file"
    not_permitted as_b chown $B "$s/file"
    not_permitted as_b setfacl -m "u:$B:rw" "$s/file"
    may_not as_b setfattr -n user.x -v 1 "$s/file"
    not_permitted as_b touch -h -d yesterday "$s/file"
    not_permitted as_b rm -f "$s/file" # sticky
    not_permitted as_b mv "$s/file" "$s/other"
    not_permitted as_a chown $B "$s/file"
    not_permitted as_a chgrp $OPS "$s/file"
    as $A "$A,$OPS" chgrp $OPS "$s/file"
    may as_b cat "$s/file"
    [[ $(<"$s/file") == a ]]
    rm -r "$s"
}

# Whoever writes or cuts off another's file takes its set-id bits; root does not.
test_02_writing_takes_set_id_bits() {
    local s=$M/snapshots/bits how
    mkdir "$s" && chmod 777 "$s"
    for how in 'echo x >>F' 'echo x >F' 'dd if=/dev/zero of=F bs=1 count=1 conv=notrunc status=none' 'truncate -s 3 F' 'fallocate -l 9000 F'; do
        rm -f "$s/f" && echo content >"$s/f" && chown "$A:$OPS" "$s/f" && chmod 6775 "$s/f"
        as_b bash -c "${how//F/"$s/f"}"
        [[ $(stat -c %a "$s/f") == 775 ]] || { echo "$how: $(stat -c %a "$s/f")"; return 1; }
        chmod 6775 "$s/f"
        bash -c "${how//F/"$s/f"}"
        [[ $(stat -c %a "$s/f") == 6775 ]] || { echo "root: $how: $(stat -c %a "$s/f")"; return 1; }
    done
    rm -r "$s"
}

test_03_acls_of_snapshots_are_enforced() {
    local s=$M/snapshots/acls
    mkdir "$s" && echo secret >"$s/f" && chmod 644 "$s/f"
    setfacl -m "g:$GUESTS:---" "$s/f"
    may as_b cat "$s/f"
    may_not as_c cat "$s/f"
    # a restart has it from the disk
    may_not as $A "$A,$GUESTS" cat "$s/f"
    setfacl -b "$s/f" && chmod 600 "$s/f"
    may_not as_b cat "$s/f"
    setfacl -m "u:$B:rw" "$s/f"
    may as_b bash -c "echo more >>'$s/f'"
    chmod g-w "$s/f" # the mask
    may_not as_b bash -c "echo more >>'$s/f'"
    may as_b cat "$s/f"
    setfacl -m "g:$OPS:-wx,m::-wx" "$s"
    may as_c touch "$s/new"
    may_not as_c ls "$s"
    rm -r "$s"
}

# What users do in a directory of theirs, and all that can be seen of it.
story() { # DIRECTORY
    cd "$1" || exit
    local umask acl d
    for umask in 000 022 027 077; do
        for acl in none u::rwx,g::rwx,o::rwx u::rwx,g::r-x,o::--- "u::rwx,u:$B:rwx,g::r-x,g:$GUESTS:r--,m::rwx,o::r--" "u::rw-,u:$C:r-x,g::---,m::r-x,o::---"; do
            d=$umask-$acl
            mkdir "$d"
            chown "$A:$OPS" "$d"
            chmod 2775 "$d"
            [[ $acl == none ]] || setfacl -d -m "$acl" "$d"
            as "$A" "$A,$GUESTS" bash -c "umask $umask; cd '$d' && echo x >file; mkdir dir; mkdir -m 711 dir711;
                mkfifo fifo; install -m 6755 /dev/null set; ln -s file link; mkdir dir/deep; echo y >dir/deep/file" 2>&1 || true
        done
    done
    mkdir later && chown "$A:$A" later
    as "$A" "$A,$GUESTS" bash -c "cd later; umask 022
        for f in a b c d e f g h i; do echo \$f >\$f; done
        mkdir s && chgrp $GUESTS s && chmod 2775 s && echo z >s/in && mkdir s/dir
        setfacl -m u:$B:rw a && chmod 600 a
        setfacl -m u:$B:rw b && chmod 640 b && setfacl -b b
        setfacl -m g:$OPS:r c && setfacl -x g:$OPS c
        setfacl -m m::rwx d
        setfacl --set u::rwx,g::r-x,o::--- e
        setfacl -m u:$B:rw f && setfacl -k f; cp -p f f2
        chmod 6755 g && setfacl -m u:$B:r g
        chmod 6775 h && chgrp $GUESTS h && chmod 6775 h
        setfacl -m u:$B:rwx i && chgrp $GUESTS i; mv i j; ln j k
        setfacl -d -m u:$C:rx s && setfacl -x u:$B j; mkdir s/after"
    chown "$A:$OPS" later/g && as $A $A chmod 2755 later/g
    as $A $A setfacl -m "u:$C:r" later/g
    find . -mindepth 1 -printf '%p %M %U %G %s\n' | sort | sed -E 's/^(.* d.*) [0-9]+$/\1/'
    acls_below .
}

acls_below() { # DIRECTORY
    (cd "$1" && find . -mindepth 1 ! -type l | sort | getfacl -np -)
}

test_04_all_is_as_in_an_ordinary_directory() {
    mkdir "$RACK_STATE/native" "$M/snapshots/story"
    (story "$RACK_STATE/native") >"$RACK_STATE/native.said"
    (story "$M/snapshots/story") >"$RACK_STATE/mount.said"
    [[ $(wc -l <"$RACK_STATE/native.said") -gt 1000 ]]
    diff "$RACK_STATE/native.said" "$RACK_STATE/mount.said"
    # and so it is on the disk below
    acls_below "$M/snapshots/story" >"$RACK_STATE/mount.said"
    diff "$RACK_STATE/mount.said" <(acls_below "$STORE/snapshots/story")
    # copies carry it
    for copy in 'cp -a . TO' 'rsync -aHAX ./ TO/' 'tar --acls -cf - . | tar --acls -xpf - -C TO'; do
        mkdir "$RACK_STATE/copy"
        (cd "$M/snapshots/story" && bash -c "set -o pipefail; ${copy//TO/"$RACK_STATE/copy"}")
        diff "$RACK_STATE/mount.said" <(acls_below "$RACK_STATE/copy")
        rm -r "$RACK_STATE/copy"
    done
    rm -r "$M/snapshots/story"
}

# chmod and setfacl by turns on one file, with what is seen after each.
turns() { # FILE
    local words
    for words in 'chmod 640' "setfacl -m u:$B:rw" 'chmod 604' 'chmod 664' "setfacl -m g:$GUESTS:---" "chown $A:$OPS" \
        "setfacl -m m::r" "setfacl -x u:$B" "setfacl -x g:$GUESTS" 'chmod 600' 'setfacl -b' 'setfacl -m m::rw' \
        'setfacl --set u::rw,g::r,o::-' "setfacl -n -m u:$C:rwx" 'chmod 2770' "setfacl -m u:$C:r" "chown 0:0" \
        'setfacl --set u::r,u:20100:w,u:20099:x,g::-,g:20500:rw,g:20001:r,m::rwx,o::r' 'setfattr -x system.posix_acl_access' \
        'setfacl -b' 'chmod 6755' "chown $A" 'chmod 6745' "chgrp $OPS" 'chmod 6711' "setfacl -m u:$B:r" 'chown 0:0'; do
        # shellcheck disable=SC2086  # words are words
        $words "$1" || echo "$words failed: $?"
        echo "after $words"
        getfacl -nEcp "$1"
        stat -c '%A %u %g' "$1" | cut -c2-
        getfattr -m- -d "$1" -e hex 2>/dev/null | grep -v '^#' || true
    done
}

test_05_acls_of_slots_are_as_of_ordinary_files() {
    local of
    echo x >"$RACK_STATE/turned"
    mkdir "$RACK_STATE/turned.d" "$M/blades/turned"
    chown 0:0 "$RACK_STATE/turned"*
    turns "$RACK_STATE/turned" >"$RACK_STATE/turned.said" 2>&1
    for of in blades/turned/load blades/turned/state blades/turned/run blades/any/load status store/stats; do
        getfacl -np "$M/$of" >"$RACK_STATE/acl"
        turns "$M/$of" 2>&1 | sed "s,^$M/$of,$RACK_STATE/turned," >"$RACK_STATE/said"
        diff "$RACK_STATE/turned.said" "$RACK_STATE/said"
        setfacl --restore="$RACK_STATE/acl"
    done
    turns "$RACK_STATE/turned.d" >"$RACK_STATE/turned.said" 2>&1
    for of in blades/turned blades/any running blades; do
        getfacl -np "$M/$of" >"$RACK_STATE/acl"
        turns "$M/$of" 2>&1 | sed "s,^$M/$of,$RACK_STATE/turned.d," >"$RACK_STATE/said"
        diff "$RACK_STATE/turned.said" "$RACK_STATE/said"
        chmod 0755 "$M/$of"
        setfacl --restore="$RACK_STATE/acl"
    done
    chmod 750 "$M/running"
    rmdir "$M/blades/turned"
}

test_06_what_is_no_acl_is_refused() {
    mkdir "$M/blades/bad"
    python3 - "$M/blades/bad" <<'P'
import errno, os, struct, sys
U, NU, G, NG, M, O = 1, 2, 4, 8, 16, 32
NONE = 0xffffffff
def acl(*entries, version=2):
    return struct.pack("<I", version) + b"".join(struct.pack("<HHI", *e) for e in entries)
base = [(U, 7, NONE), (G, 5, NONE), (O, 0, NONE)]
bad = [
    acl(*base)[:-1], acl(*base) + b"\0", acl(*base, version=1), acl(*base[:2]), acl(*base[1:]),
    acl(base[1], base[0], base[2]), acl((U, 8, NONE), *base[1:]), acl(*base, (64, 0, NONE)),
    acl(base[0], (NU, 4, 20001), *base[1:]),                                       # no mask
    acl(base[0], (NU, 4, 20001), (NU, 0, 20001), base[1], (M, 7, NONE), base[2]),  # twice
    acl(base[0], (NU, 4, NONE), base[1], (M, 7, NONE), base[2]),
    acl(base[0], *[(NU, 4, i) for i in range(1, 600)], base[1], (M, 7, NONE), base[2]),
]
for name in "", "/load":
    path = sys.argv[1] + name
    before = os.stat(path).st_mode
    for value in bad:
        try:
            os.setxattr(path, "system.posix_acl_access", value)
            sys.exit(f"{value!r} was taken")
        except OSError as e:
            assert e.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.E2BIG, errno.ERANGE), e
    for value in acl(*base), acl():
        os.setxattr(path, "system.posix_acl_access", value)
        assert not os.listxattr(path)
    try:
        os.getxattr(path, "system.posix_acl_access")
        sys.exit("there is one")
    except OSError as e:
        assert e.errno == errno.ENODATA, e
    long = acl(base[0], *[(NU, 4, i) for i in range(1, 500)], base[1], (M, 7, NONE), base[2])
    os.setxattr(path, "system.posix_acl_access", long)
    assert os.getxattr(path, "system.posix_acl_access") == long
    os.removexattr(path, "system.posix_acl_access")
    os.chmod(path, before & 0o7777)
P
    not_supported setfacl -d -m u:$B:rx "$M/blades/bad"
    not_supported setfattr -n user.note -v x "$M/blades/bad"
    not_supported setfacl -m u:$B:rx "$M/state"
    not_supported setfacl -m u:$B:rx "$M/state/absent"
    not_supported setfacl -m u:$B:rx "$M/store"
    not_supported setfacl -m u:$B:rx "$M/snapshots/web/.bladefs"
    not_supported setfacl -m u:$B:rx "$M/snapshots/web/.bladefs/exec"
    rmdir "$M/blades/bad"
}

test_07_the_key_is_roots_whatever_happens() {
    setfacl -m u:$B:rwx "$M/blades"
    as_b mkdir "$M/blades/b"
    setfacl -b "$M/blades"
    [[ $(stat -c '%u %a' "$M/blades/b") == "$B 755" && $(stat -c %u "$M/blades/b/load") == "$B" ]]
    chmod 777 "$M/blades/b"
    setfacl -m u:$B:rwx,u:$A:rwx "$M/blades/b"
    key_is_roots b
    mv "$M/blades/b" "$M/blades/c"
    key_is_roots c
    echo new >"$M/blades/c/key"
    key_is_roots c
    rack_down
    rack_up
    key_is_roots c
    rmdir "$M/blades/c"
}

key_is_roots() { # SLOT
    local key=$M/blades/$1/key
    not_permitted chmod 444 "$key"
    not_permitted chown $B "$key"
    not_permitted chgrp $OPS "$key"
    not_permitted setfacl -m u:$B:r "$key"
    not_permitted as_b chmod 400 "$key"
    may_not as_b cat "$key"
    may_not as_b bash -c "echo new >'$key'"
    [[ $(stat -c '%u %g %a' "$key") == "0 0 400" ]]
    [[ -z $(getfacl -nspE "$key") ]] # nothing more than the mode
    [[ -n $(<"$key") ]]
}

all_acls() {
    find "$M/blades" "$M/blades/any" "$M/running" "$M/status" "$M/store" -path "$M/running/*" -prune -o ! -type l -print | sort |
        getfacl -np -
}

test_08_it_is_all_kept() {
    mkdir "$M/blades/kept"
    chown $A:$OPS "$M/blades/kept" && chmod 1770 "$M/blades/kept"
    setfacl -m "u:$B:rx,g:$GUESTS:-" "$M/blades/kept"
    chmod 640 "$M/blades/kept/load"
    setfacl -m "g:$OPS:rw" "$M/blades/kept/load"
    setfacl -m "u:$C:-" "$M/blades/kept/state"
    chmod 600 "$M/blades/kept/log"
    setfacl -m "g:$GUESTS:rw" "$M/blades/any/load"
    setfacl -m "g:$OPS:x" "$M/running"
    setfacl -m "u:$C:-" "$M/status"
    all_acls >"$RACK_STATE/before"
    grep -q "group:$GUESTS:rw" "$RACK_STATE/before"
    mv "$M/blades/kept" "$M/blades/renamed"
    sed 's,blades/kept,blades/renamed,' "$RACK_STATE/before" | diff - <(all_acls)
    rack_kill
    rack_up
    sed 's,blades/kept,blades/renamed,' "$RACK_STATE/before" | diff - <(all_acls)
    mv "$M/blades/renamed" "$M/blades/kept"
    rack_down
    rack_up
    diff "$RACK_STATE/before" <(all_acls)
    may_not as_c cat "$M/status"
    may as_b cat "$M/status"
    setfacl -b "$M/blades/any/load" "$M/running" "$M/status"
    rmdir "$M/blades/kept"
}

test_08_slots_are_made_as_in_any_directory() {
    local said
    chmod 3775 "$M/blades" && chgrp $OPS "$M/blades"
    as_b bash -c "umask 077; mkdir '$M/blades/one' && umask 002 && mkdir '$M/blades/two' && mkdir -m 1750 '$M/blades/three'"
    said=$(stat -c '%u %g %a' "$M/blades/"{one,two,three})
    [[ $said == "$B $OPS 2700"$'\n'"$B $OPS 2775"$'\n'"$B $OPS 3750" ]] || { echo "$said"; return 1; }
    not_permitted as_c rmdir "$M/blades/one" # sticky
    not_permitted as_c mv "$M/blades/two" "$M/blades/four"
    may_not as_a mkdir "$M/blades/five"
    as_b mv "$M/blades/two" "$M/blades/four"
    as_b rmdir "$M/blades/"{one,three,four}
    chmod 755 "$M/blades" && chgrp 0 "$M/blades"
}

test_09_copies_of_the_whole_mount_end_well() {
    within 20 blade_is_connected 1
    within 20 blade_is_connected 2
    setfacl -m "u:$B:rw" "$M/blades/1/load"
    mkdir "$RACK_STATE/whole"
    cp -a "$M" "$RACK_STATE/whole/cp"
    rsync -aHAX "$M/" "$RACK_STATE/whole/rsync/"
    tar -C "$M" --acls --xattrs -cf "$RACK_STATE/whole/tar" . 2>"$RACK_STATE/tar.said" ||
        not grep -v 'file changed as we read it' "$RACK_STATE/tar.said" # a heartbeat changes info
    [[ $(getfacl -nEcp "$RACK_STATE/whole/cp/blades/1/load") == "$(getfacl -nEcp "$M/blades/1/load")" ]]
    [[ $(getfacl -nEcp "$RACK_STATE/whole/rsync/blades/1/load") == "$(getfacl -nEcp "$M/blades/1/load")" ]]
    tar -tvf "$RACK_STATE/whole/tar" ./blades/1/load | grep -q '^-rw-rw-r--+\?'
    setfacl -b "$M/blades/1/load"
    rm -r "$RACK_STATE/whole"
}

load_as() { # WHO SLOT SNAPSHOT
    "as_$1" bash -c "echo '$3' >'$M/blades/$2/load'"
}

# Slot 1 is a's; slot 2 is for the group ops, but not for guests. alpha is a's alone; web is for ops.
test_10_who_may_load_what_where() {
    local who slot snapshot wanted
    chown $A "$M/blades/1/load" && chmod 600 "$M/blades/1/load"
    chmod 600 "$M/blades/2/load"
    setfacl -m "g:$OPS:rw,u:$A:rw" "$M/blades/2/load"
    chown $A "$M/snapshots/alpha" && chmod 700 "$M/snapshots/alpha"
    chmod 700 "$M/snapshots/web" && setfacl -m "g:$OPS:rx,g:$GUESTS:x" "$M/snapshots/web"
    while read -r who slot snapshot wanted; do
        if [[ $wanted == yes ]]; then
            load_as "$who" "$slot" "$snapshot"
            [[ $(<"$M/blades/$slot/load") == "$snapshot"@* && $(<"$M/blades/$slot/state") == running ]]
        else
            may_not load_as "$who" "$slot" "$snapshot"
        fi
    done <<'T'
a 1 alpha yes
a 1 web   no
b 1 web   no
b 1 alpha no
c 1 web   no
a 2 web   no
b 2 alpha no
b 2 web   yes
c 2 alpha no
a 2 alpha yes
c 2 web   yes
T
    # a guest of the same group, who is denied there by name, is not
    setfacl -m "u:$C:-" "$M/blades/2/load"
    may_not load_as c 2 web
    setfacl -x "u:$C" "$M/blades/2/load"
    # the search on /snapshots is asked for, too
    chmod 750 "$M/snapshots"
    may_not load_as b 2 web
    setfacl -m "g:$OPS:x" "$M/snapshots"
    load_as b 2 web
    may_not load_as a 1 alpha
    setfacl -b "$M/snapshots" && chmod 711 "$M/snapshots"
    # a name that is not there is told to those who may search there
    fails_with "No such file" load_as b 2 nosuch
    may_not load_as b 2 nosuch@1
}

test_11_a_running_snapshot_is_its_owners_still() {
    chmod 750 "$M/running"
    may_not load_as a 2 alpha@1
    setfacl -m "u:$A:x,g:$OPS:x" "$M/running"
    load_as a 2 alpha@1
    # the source of that name may be another's by now
    rm -r "$M/snapshots/alpha"
    mkdir "$M/snapshots/alpha" && chown $B "$M/snapshots/alpha"
    may_not load_as b 2 alpha@1
    may_not as_b ls "$M/running/alpha@1"
    fails_with "No such file" load_as b 2 nosuch@1
    load_as b 2 web@1
    fails_with "Read-only file system" setfacl -m "u:$B:rx" "$M/running/alpha@1"
    setfacl -b "$M/running"
}

test_12_any_blade_for_those_who_may() {
    local line
    chmod 600 "$M/blades/any/load" && setfacl -m "u:$B:rw" "$M/blades/any/load"
    may_not load_as a any web
    echo 1 >"$M/blades/2/unload"
    # shellcheck disable=SC2016
    line=$(as_b bash -c 'exec 3<>"$1"; echo web >&3; read -r line <&3; echo "$line"' _ "$M/blades/any/load")
    [[ $line == "2 web@1" ]]
    setfacl -b "$M/blades/any/load" && chmod 644 "$M/blades/any/load"
    not_permitted as_a chmod 666 "$M/blades/2/run" || may_not as_a bash -c "echo stop >'$M/blades/2/run'"
    may_not as_a bash -c "echo stop >'$M/blades/2/run'"
    setfacl -m "u:$A:w" "$M/blades/2/run"
    as_a bash -c "echo stop >'$M/blades/2/run'"
    [[ $(<"$M/blades/2/state") == stopped ]]
    may_not as_a cat "$M/blades/2/log"
    setfacl -m "u:$A:r" "$M/blades/2/log"
    may as_a cat "$M/blades/2/log"
}

test_13_exec_is_for_those_who_may_write_the_snapshot() {
    local s=$M/snapshots/shared
    mkdir "$s" && chown $A "$s" && chmod 750 "$s"
    may_not as_b cat "$s/.bladefs/exec"
    may as_a bash -c "echo /bin/a >'$s/.bladefs/exec'"
    setfacl -m "u:$B:rwx,u:$C:rx" "$s"
    may as_b bash -c "echo /bin/b >'$s/.bladefs/exec'"
    may as_b touch "$s/file"
    may_not as_c bash -c "echo /bin/c >'$s/.bladefs/exec'"
    [[ $(as_c cat "$s/.bladefs/exec") == /bin/b ]]
    rm -r "$s"
}

# The kernel asks for an ACL at each permission check: where the disk knows none the mode must do.
test_14_a_store_on_a_disk_without_acls() {
    local s=$RACK_STATE/plain pid
    mkdir -p "$s/disk" "$s/mnt"
    mount -t ramfs -o mode=755 none "$s/disk"
    "$BLADEFS" "$s/disk/store" "$s/mnt" -f -o "listen=127.0.0.1:0" >>"$RACK_STATE/bladefs.log" 2>&1 3>&- &
    pid=$!
    within 20 test -d "$s/mnt/snapshots"
    chmod 755 "$s/mnt/snapshots"
    mkdir "$s/mnt/snapshots/x" && echo hi >"$s/mnt/snapshots/x/f" && chmod 640 "$s/mnt/snapshots/x/f"
    may_not as_a cat "$s/mnt/snapshots/x/f"
    chgrp $OPS "$s/mnt/snapshots/x/f"
    may as_b cat "$s/mnt/snapshots/x/f"
    not_supported setfacl -m u:$A:r "$s/mnt/snapshots/x/f"
    # slots' are in the catalog
    mkdir "$s/mnt/blades/1" && chmod 600 "$s/mnt/blades/1/load" && setfacl -m u:$A:rw "$s/mnt/blades/1/load"
    fails_with "No such device" as_a bash -c "echo x >'$s/mnt/blades/1/load'"
    umount "$s/mnt"
    within 10 process_gone $pid
    umount "$s/disk"
}

# An ordinary user's blade keeps of a tree what he can keep: all is his.
test_15_a_users_blade_takes_trees_of_others() {
    local s=$M/snapshots/owned dir
    dir=$(blade_dir 3)
    install -m 755 "$BLADED" "$RACK_STATE/bladed"
    setpriv --reuid nobody --regid nogroup --clear-groups unshare -Urm "$RACK_STATE/bladed" --version || skip "users may have no namespaces here"
    mkdir "$M/blades/3" "$dir"
    cat "$M/blades/3/key" >"$dir.key" && chmod 600 "$dir.key"
    chown nobody:nogroup "$dir" "$dir.key"
    setpriv --reuid nobody --regid nogroup --clear-groups "$RACK_STATE/bladed" -c "127.0.0.1:$PORT" -k "$dir.key" -d "$dir" >>"$dir.log" 2>&1 3>&- &
    echo $! >"$dir.pid"
    within 20 blade_is_connected 3
    snapshot owned "/bin/sh -c '/bin/busybox stat -c %u:%g:%a /www/index.html; exec /bin/sleep 1000'"
    echo x >"$s/other" && chown 5:6 "$s/other" "$s/www/index.html" && chmod 640 "$s/www/index.html"
    setcap cap_net_raw+ep "$s/other"
    setfattr -n trusted.note -v x "$s/other"
    setfacl -m u:7:r "$s/other"
    echo owned >"$M/blades/3/load"
    within 5 grep -qx 0:0:640 "$M/blades/3/log"
    mknod "$s/null" c 1 3
    fails_with "Input/output error" write_to "$M/blades/3/load" owned
    grep -q 'null.*not permitted' "$M/blades/3/error" || { cat "$M/blades/3/error"; return 1; }
    state_is 3 running
    blade_end 3
    rmdir "$M/blades/3"
    rm -r "$s"
}

test_16_a_mount_can_be_for_its_user_alone() {
    local s=$RACK_STATE/alone option pid
    mkdir -p "$s/mnt"
    for option in noallow_other allow_root allow_other,noallow_other; do
        "$BLADEFS" "$s/store" "$s/mnt" -f -o "listen=127.0.0.1:0,$option" >>"$RACK_STATE/bladefs.log" 2>&1 3>&- &
        pid=$!
        within 20 test -d "$s/mnt/snapshots"
        [[ -r $s/mnt/status ]]
        may_not as_c ls "$s/mnt"
        may_not as_c cat "$s/mnt/status"
        umount "$s/mnt"
        within 10 process_gone $pid
    done
}
