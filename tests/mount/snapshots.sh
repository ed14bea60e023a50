#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# Source snapshots: an ordinary tree, whatever is done with it.
file_setup() {
    need_fuse
    need_root
    rack_up
}
file_teardown() { rack_down; }

test_every_kind_of_file_survives_a_copy() {
    local from=$RACK_STATE/kinds
    mkdir -p "$from/dir/sub"
    echo content >"$from/dir/file"
    ln "$from/dir/file" "$from/hardlink"
    ln -s dir/file "$from/symlink"
    ln -s /nowhere/at/all "$from/dangling"
    mkfifo "$from/fifo"
    mknod "$from/null" c 1 3
    mknod "$from/disk" b 7 200
    truncate -s 5M "$from/sparse"
    echo middle | dd of="$from/sparse" bs=1 seek=2097152 conv=notrunc status=none
    touch -d '2001-02-03 04:05:06.123456789' "$from/dir/file"
    chown 12345:54321 "$from/dir/file"
    chmod 6755 "$from/dir/file"
    chmod 1777 "$from/dir/sub"
    setfattr -n user.note -v hello "$from/dir"
    setcap cap_net_raw+ep "$from/dir/file"
    setfacl -m u:1000:rwx,g:2000:r "$from/dir/sub"
    printf 'x' >"$from/$(printf 'n%.0s' {1..255})"
    touch -d '1999-12-31 23:59:59.5' "$from/dir"
    mkdir "$M/snapshots/kinds"
    cp -a "$from/." "$M/snapshots/kinds/"
    rsync -aHAXSn --delete --itemize-changes "$from/" "$M/snapshots/kinds/" >"$RACK_STATE/diff"
    [[ ! -s $RACK_STATE/diff ]] || { cat "$RACK_STATE/diff"; return 1; }
    diff -r --no-dereference "$from/dir" "$M/snapshots/kinds/dir"
    cmp "$from/sparse" "$M/snapshots/kinds/sparse"
    (($(stat -c %b "$M/snapshots/kinds/sparse") <= $(stat -c %b "$from/sparse") + 8))
    [[ $(stat -c %t:%T "$M/snapshots/kinds/null") == 1:3 ]]
    [[ $(getcap "$M/snapshots/kinds/dir/file") == *cap_net_raw* ]]
    # and back, through tar
    mkdir "$RACK_STATE/back"
    tar -C "$M/snapshots/kinds" --acls --xattrs --xattrs-include='*' -cSf - . | tar -C "$RACK_STATE/back" --acls --xattrs --xattrs-include='*' -xpf -
    rsync -aHAXn --delete --itemize-changes "$from/" "$RACK_STATE/back/" >"$RACK_STATE/diff"
    [[ ! -s $RACK_STATE/diff ]] || { cat "$RACK_STATE/diff"; return 1; }
    rm -r "$M/snapshots/kinds"
}

test_files_belong_to_who_makes_them() {
    chmod 755 "$M/snapshots" "$RACK_STATE"
    mkdir "$M/snapshots/owned"
    chmod 777 "$M/snapshots/owned"
    # setpriv is in util-linux: no password database needed
    setpriv --reuid 4321 --regid 8765 --clear-groups bash -c "umask 027; cd '$M/snapshots/owned' && echo a >file && mkdir dir && ln -s x link && mkfifo fifo"
    [[ $(stat -c '%u %g %a' "$M/snapshots/owned/file") == "4321 8765 640" ]]
    [[ $(stat -c '%u %g %a' "$M/snapshots/owned/dir") == "4321 8765 750" ]]
    [[ $(stat -c '%u %g' "$M/snapshots/owned/link") == "4321 8765" ]]
    ! setpriv --reuid 999 --regid 999 --clear-groups cat "$M/snapshots/owned/file" 2>/dev/null
    ! setpriv --reuid 999 --regid 999 --clear-groups mkdir "$M/snapshots/other" 2>/dev/null
    chmod 750 "$M/snapshots"
    rm -r "$M/snapshots/owned"
}

test_acls_are_enforced() {
    chmod 755 "$M/snapshots" "$RACK_STATE"
    mkdir "$M/snapshots/acl"
    echo secret >"$M/snapshots/acl/f"
    chmod 755 "$M/snapshots/acl"
    chmod 644 "$M/snapshots/acl/f"
    setfacl -m g:7777:--- "$M/snapshots/acl/f"
    setpriv --reuid 999 --regid 999 --clear-groups cat "$M/snapshots/acl/f"
    ! setpriv --reuid 999 --regid 7777 --clear-groups cat "$M/snapshots/acl/f" 2>/dev/null
    chmod 750 "$M/snapshots"
    rm -r "$M/snapshots/acl"
}

test_a_build_and_a_database_work_in_it() {
    mkdir "$M/snapshots/work"
    cd "$M/snapshots/work"
    git init -q repo
    cd repo
    printf '#include <stdio.h>\nint main(void){puts("built");}\n' >main.c
    printf 'main: main.c\n\tcc -o $@ $<\n' >Makefile
    make -s
    [[ $(./main) == built ]]
    git -c user.name=t -c user.email=t@example.org commit -q --allow-empty -m first
    git add main.c Makefile && git -c user.name=t -c user.email=t@example.org commit -qm second
    git fsck --strict
    rm main && git clean -fdxq
    [[ -z $(git status --porcelain) ]]
    if command -v sqlite3 >/dev/null; then
        sqlite3 db 'create table t(a); begin; insert into t select value from generate_series(1,1000); commit; select count(*) from t' | grep -qx 1000
        sqlite3 db 'pragma integrity_check' | grep -qx ok
    fi
    cd /
    rm -r "$M/snapshots/work"
}

test_dot_bladefs_is_found_not_listed() {
    mkdir "$M/snapshots/dot"
    [[ -z $(ls -A "$M/snapshots/dot") ]]
    [[ -d $M/snapshots/dot/.bladefs && -f $M/snapshots/dot/.bladefs/exec && -f $M/snapshots/dot/.bladefs/stats ]]
    [[ -z $(<"$M/snapshots/dot/.bladefs/exec") ]]
    echo '/bin/app --flag "two words"' >"$M/snapshots/dot/.bladefs/exec"
    [[ $(<"$M/snapshots/dot/.bladefs/exec") == '/bin/app --flag "two words"' ]]
    [[ $(getfattr --only-values -n user.bladefs.exec "$M/snapshots/dot") == '/bin/app --flag "two words"' ]]
    fails_with "File exists" mkdir "$M/snapshots/dot/.bladefs"
    # a copy carries it
    cp -a "$M/snapshots/dot" "$M/snapshots/dot2"
    [[ $(<"$M/snapshots/dot2/.bladefs/exec") == '/bin/app --flag "two words"' ]]
    cp -a "$M/snapshots/dot" "$RACK_STATE/out"
    [[ ! -e $RACK_STATE/out/.bladefs ]]
    echo >"$M/snapshots/dot2/.bladefs/exec"
    [[ -z $(<"$M/snapshots/dot2/.bladefs/exec") ]]
    rm -r "$M/snapshots/dot" && rmdir "$M/snapshots/dot2"
}

test_names_at_the_top_follow_the_rule() {
    fails_with "Invalid argument" mkdir "$M/snapshots/.hidden"
    fails_with "Invalid argument" mkdir "$M/snapshots/a b"
    fails_with "" mkdir "$M/snapshots/$(printf 'n%.0s' {1..64})"
    fails_with "" touch "$M/snapshots/file"
    fails_with "" ln -s x "$M/snapshots/link"
    mkdir "$M/snapshots/$(printf 'n%.0s' {1..63})"
    rmdir "$M/snapshots/$(printf 'n%.0s' {1..63})"
}

test_whole_snapshots_are_renamed_and_files_moved_between() {
    mkdir "$M/snapshots/one" "$M/snapshots/two"
    echo x >"$M/snapshots/one/f"
    mkdir "$M/snapshots/one/d" && echo y >"$M/snapshots/one/d/g"
    mv "$M/snapshots/one/f" "$M/snapshots/two/f"
    mv "$M/snapshots/one/d" "$M/snapshots/two/d"
    [[ $(<"$M/snapshots/two/f") == x && $(<"$M/snapshots/two/d/g") == y && ! -e $M/snapshots/one/f ]]
    mv "$M/snapshots/two" "$M/snapshots/three"
    [[ $(<"$M/snapshots/three/f") == x && ! -e $M/snapshots/two ]]
    rm -r "$M/snapshots/one" "$M/snapshots/three"
}

test_holes_locks_and_mappings() {
    mkdir "$M/snapshots/misc"
    cd "$M/snapshots/misc"
    python3 - <<'P'
import fcntl, mmap, os
fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(fd, 1 << 20)
os.pwrite(fd, b"x" * 4096, 512 * 1024)
assert os.lseek(fd, 0, os.SEEK_DATA) == 512 * 1024
assert os.lseek(fd, 512 * 1024, os.SEEK_HOLE) == 512 * 1024 + 4096
m = mmap.mmap(fd, 1 << 20)
m[0:5] = b"hello"
m.flush()
assert os.pread(fd, 5, 0) == b"hello"
del m
os.posix_fallocate(fd, 1 << 20, 4096)
assert os.fstat(fd).st_size == (1 << 20) + 4096
fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
other = os.open("f", os.O_RDWR)
try:
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    raise SystemExit("two exclusive locks")
except BlockingIOError:
    pass
assert os.copy_file_range(fd, os.open("g", os.O_RDWR | os.O_CREAT), 5) in (5, 0)
os.unlink("f")
assert os.pread(fd, 5, 0) == b"hello"
assert os.fstat(fd).st_nlink == 0
P
    cd /
    rm -r "$M/snapshots/misc"
}

test_a_path_four_thousand_deep() {
    mkdir "$M/snapshots/deep"
    python3 - "$M/snapshots/deep" <<'P'
import os, sys
os.chdir(sys.argv[1])
for i in range(4000):
    os.mkdir("d")
    os.chdir("d")
open("bottom", "w").write("found")
P
    [[ $(find "$M/snapshots/deep" -name bottom | wc -l) == 1 ]] || find "$M/snapshots/deep" -name bottom | wc -c
    rm -r "$M/snapshots/deep"
}

test_a_restart_keeps_everything() {
    mkdir "$M/snapshots/kept"
    echo before >"$M/snapshots/kept/f"
    echo '/bin/app' >"$M/snapshots/kept/.bladefs/exec"
    local inode
    inode=$(stat -c %i "$M/snapshots/kept/f")
    rack_down
    rack_up
    [[ $(<"$M/snapshots/kept/f") == before && $(<"$M/snapshots/kept/.bladefs/exec") == /bin/app ]]
    [[ $(stat -c %i "$M/snapshots/kept/f") == "$inode" ]]
    rack_kill
    rack_up
    [[ $(<"$M/snapshots/kept/f") == before ]]
    rm -r "$M/snapshots/kept"
}
