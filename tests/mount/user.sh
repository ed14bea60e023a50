#!/usr/bin/env bash
# A suite for tests/lib/harness.sh.
# An ordinary user's controller: the store, the mount and the port are his own, and fusermount3 mounts. It runs in
# a mount namespace of its own, where /dev/fuse is for everybody as distributions have it.
user_dir=$RACK_STATE/user
store=$user_dir/store
mnt=$user_dir/mnt

here() { nsenter --mount="/proc/$(<"$RACK_STATE/space.pid")/ns/mnt" "$@"; }
# An account is what fusermount3 -u wants: nobody is one everywhere.
user() { here setpriv --reuid nobody --regid nogroup --clear-groups env "LD_LIBRARY_PATH=$user_dir/lib" "$@"; }
# In the background, its pid in $!: the program itself, no shell around it.
user_starts() { # LOG COMMAND...
    local log=$1
    shift
    nsenter --mount="/proc/$(<"$RACK_STATE/space.pid")/ns/mnt" setpriv --reuid nobody --regid nogroup --clear-groups \
        env "LD_LIBRARY_PATH=$user_dir/lib" "$@" >>"$log" 2>&1 3>&- &
}

# The programs where the user can read them; the build may be in somebody's home.
programs() {
    local lib
    install -m 755 "$BLADEFS" "$BLADED" "$user_dir/"
    mkdir "$user_dir/lib"
    lib=$(ldd "$BLADEFS" | awk '/libfuse3/ {print $3}')
    install -m 755 "$lib" "$user_dir/lib/"
}

user_up() { # [bladefs options]
    user_starts "$RACK_STATE/bladefs.log" "$user_dir/bladefs" "$store" "$mnt" -f -o "listen=127.0.0.1:$(<"$RACK_STATE/port")" "$@"
    echo $! >"$RACK_STATE/bladefs.pid"
    within 20 user test -d "$mnt/snapshots"
}

user_down() {
    user fusermount3 -u "$mnt"
    within 10 process_gone "$(<"$RACK_STATE/bladefs.pid")"
    rm "$RACK_STATE/bladefs.pid"
    sanitizers_are_silent "$RACK_STATE/bladefs.log"
}

file_setup() {
    need_fuse
    need_root
    command -v fusermount3 >/dev/null || skip "there is no fusermount3"
    chmod 755 "$RACK_STATE"
    mkdir "$user_dir"
    programs
    chown -R nobody:nogroup "$user_dir"
    free_port >"$RACK_STATE/port"
    unshare -m --propagation private sleep 600 3>&- &
    echo $! >"$RACK_STATE/space.pid"
    # as systemd leaves it: what is unmounted here is unmounted in the namespaces below, too
    within 5 here mount --make-rshared /
    if [[ $(stat -c %a /dev/fuse) != 666 ]]; then
        mkdir "$RACK_STATE/dev"
        within 5 here mount -t tmpfs -o mode=755 none "$RACK_STATE/dev"
        here mknod -m 666 "$RACK_STATE/dev/fuse" c 10 229
        here mount --bind "$RACK_STATE/dev/fuse" /dev/fuse
    fi
    user mkdir "$mnt"
    user_up
}
file_teardown() {
    end_pid TERM "$RACK_STATE/space.pid"
}

test_01_it_is_mounted_for_the_user_alone() {
    user ls "$mnt/snapshots"
    fails_with "Permission denied" here ls "$mnt" # not even root's
    [[ $(user stat -c '%U %a' "$mnt/snapshots") == "nobody 750" && $(stat -c '%U %a' "$store") == "nobody 700" ]]
    [[ ,$(here findmnt -no OPTIONS "$mnt"), == *,default_permissions,* && ,$(here findmnt -no OPTIONS "$mnt"), != *,allow_other,* ]]
    [[ $(here findmnt -no FSTYPE "$mnt") == fuse.bladefs ]]
}

test_02_snapshots_are_ordinary_trees() {
    busybox_root "$RACK_STATE/root" "of a user"
    user bash -c "umask 027; mkdir '$mnt/snapshots/web'; cp -r '$RACK_STATE/root/.' '$mnt/snapshots/web/'; echo x >'$mnt/snapshots/web/new'; ln '$mnt/snapshots/web/new' '$mnt/snapshots/web/linked'; mkfifo '$mnt/snapshots/web/fifo'"
    [[ $(user stat -c '%U %G %a %h' "$mnt/snapshots/web/new") == "nobody nogroup 640 2" ]]
    user diff -r --no-dereference -x new -x linked -x fifo "$RACK_STATE/root" "$mnt/snapshots/web"
    user bash -c "echo '/bin/sleep 1000' >'$mnt/snapshots/web/.bladefs/exec'"
    user setfacl -m u:20001:r "$mnt/snapshots/web/new"
    [[ $(user getfacl -ncp "$mnt/snapshots/web/new") == *user:20001:r--* ]]
    # what takes root takes root here, too
    fails_with "not permitted" user mknod "$mnt/snapshots/web/null" c 1 3
    fails_with "not permitted" user chown 20001 "$mnt/snapshots/web/new"
    user chmod 4755 "$mnt/snapshots/web/new"
    [[ $(user stat -c %a "$mnt/snapshots/web/new") == 4755 ]]
}

test_03_slots_are_the_users() {
    user mkdir "$mnt/blades/1"
    [[ $(user stat -c '%U %a' "$mnt/blades/1/key") == "nobody 400" ]]
    fails_with "not permitted" user chmod 444 "$mnt/blades/1/key"
    user chmod 600 "$mnt/blades/1/log"
    user setfacl -m u:20001:rw "$mnt/blades/1/load"
    [[ $(user stat -c %a "$mnt/blades/1/log") == 600 ]]
}

test_04_a_load_runs() {
    user cat "$mnt/blades/1/key" >"$(blade_dir 1).key"
    chmod 600 "$(blade_dir 1).key"
    blade_start 1
    within 20 connected 1
    user bash -c "echo web >'$mnt/blades/1/load'"
    [[ $(user cat "$mnt/blades/1/state") == running && $(user cat "$mnt/blades/1/load") == web@1 ]]
    [[ $(user cat "$mnt/blades/1/image/www/index.html") == "of a user" ]]
}

connected() { [[ $(user cat "$mnt/blades/$1/state") != [al][bo]s* ]]; } # SLOT

test_05_all_is_there_after_a_restart() {
    user_down
    fails_with "" user ls "$mnt/snapshots"
    user_up
    [[ $(user getfacl -ncp "$mnt/blades/1/load") == *user:20001:rw-* && $(user stat -c %a "$mnt/blades/1/log") == 600 ]]
    within 20 running
    user bash -c "echo x >>'$mnt/snapshots/web/new' && echo web >'$mnt/blades/1/load'"
    [[ $(user cat "$mnt/blades/1/load") == web@2 ]]
    user bash -c "echo 1 >'$mnt/blades/1/unload'"
    blade_down 1
    user rmdir "$mnt/blades/1" "$mnt/running/web@1"
    user rm -r "$mnt/snapshots/web"
}

running() { [[ $(user cat "$mnt/blades/1/state") == running ]]; }

# Nothing at all is root's: the agent is root of a user namespace of its own, and so is the runtime.
user_blade() { # SLOT
    user_starts "$(blade_dir "$1").log" "$user_dir/bladed" -c "127.0.0.1:$(<"$RACK_STATE/port")" \
        -k "$(blade_dir "$1").key" -d "$(blade_dir "$1")"
    echo $! >"$(blade_dir "$1").pid"
    within 20 connected "$1"
}

test_06_a_blade_without_root() {
    user unshare -Urm true || skip "users may have no namespaces here"
    user mkdir "$mnt/blades/2"
    user cat "$mnt/blades/2/key" >"$(blade_dir 2).key"
    chmod 600 "$(blade_dir 2).key"
    mkdir "$(blade_dir 2)"
    chown nobody:nogroup "$(blade_dir 2).key" "$(blade_dir 2)"
    user_blade 2
    # what is written stays, and what is removed is gone, over a restart
    # shellcheck disable=SC2016
    user bash -c "mkdir '$mnt/snapshots/mine'; cp -r '$RACK_STATE/root/.' '$mnt/snapshots/mine/'
        echo '/bin/sh /main' >'$mnt/snapshots/mine/.bladefs/exec'" && user tee "$mnt/snapshots/mine/main" >/dev/null <<'S'
busybox=/bin/busybox
$busybox id
echo once >>/tmp/starts
$busybox wc -l </tmp/starts
$busybox rm -f /www/index.html
$busybox ls /www | $busybox wc -l
$busybox ls -ld /main /proc/1 /dev/null
exec $busybox sleep 1000
S
    user bash -c "echo mine >'$mnt/blades/2/load'"
    within 5 user grep -q /dev/null "$mnt/blades/2/log"
    [[ $(user head -n 3 "$mnt/blades/2/log") == "uid=0(root) gid=0"*$'\n1\n0' ]] || { user cat "$mnt/blades/2/log"; return 1; }
    user bash -c "echo restart >'$mnt/blades/2/run'"
    within 5 user grep -qx 2 "$mnt/blades/2/log"
    # a restart of the agent leaves it running
    local pid
    pid=$(pgrep -f -- "--supervise $(blade_dir 2)/")
    [[ $(ps -o user= -p "$pid") == nobody ]]
    blade_down 2
    kill -0 "$pid"
    user_blade 2
    [[ $(user cat "$mnt/blades/2/state") == running && $(pgrep -f -- "--supervise $(blade_dir 2)/") == "$pid" ]]
    user bash -c "echo 'exec /bin/busybox sleep 999' >'$mnt/snapshots/mine/main'; echo mine >'$mnt/blades/2/load'"
    [[ $(user cat "$mnt/blades/2/load") == mine@2 && $(user cat "$mnt/blades/2/state") == running ]]
    user bash -c "echo mine@1 >'$mnt/blades/2/load'"
    [[ $(user cat "$mnt/blades/2/state") == running ]]
    user bash -c "echo 1 >'$mnt/blades/2/unload'"
    within 5 process_gone "$pid"
    blade_down 2
    user rmdir "$mnt/blades/2"
}

test_07_others_need_the_machines_consent() {
    user_down
    if ! grep -qx user_allow_other /etc/fuse.conf; then
        fails_with "user_allow_other" user "$user_dir/bladefs" "$store" "$mnt" -f -o "listen=127.0.0.1:$(<"$RACK_STATE/port"),allow_other"
    fi
    cp /etc/fuse.conf "$RACK_STATE/fuse.conf"
    echo user_allow_other >>"$RACK_STATE/fuse.conf"
    here mount --bind "$RACK_STATE/fuse.conf" /etc/fuse.conf
    user_up -o allow_other
    here setpriv --reuid 20001 --regid 20001 --clear-groups cat "$mnt/status"
    user mkdir "$mnt/snapshots/secret" "$mnt/blades/2"
    user chmod 700 "$mnt/snapshots/secret"
    user chmod 711 "$mnt/snapshots"
    user chmod 666 "$mnt/blades/2/load"
    # what the controller's user may read another may not load
    fails_with "Permission denied" here setpriv --reuid 20001 --regid 20001 --clear-groups bash -c "echo secret >'$mnt/blades/2/load'"
    user setfacl -m u:20001:rx "$mnt/snapshots/secret"
    fails_with "No such device" here setpriv --reuid 20001 --regid 20001 --clear-groups bash -c "echo secret >'$mnt/blades/2/load'"
    user_down
}
