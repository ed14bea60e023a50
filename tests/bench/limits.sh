#!/usr/bin/env bash
# Memory and time at the sizes of target 10: a source of 1 million files, and files of 50 GB, sparse and repeating.
# Sourced by run.sh, for --limits.
# shellcheck disable=SC2154

many_files() { # DIR COUNT
    python3 - "$1" "$2" <<'END'
import os, sys
for i in range(int(sys.argv[2])):
    if i % 1000 == 0:
        top = f"{sys.argv[1]}/{i // 1000}"
        os.mkdir(top)
    with open(f"{top}/file-{i}", "w") as f:
        f.write(f"the content of the file of number {i}\n")
END
}

repeating_file() { # FILE GIGABYTES: 64 MiB that do not compress, again and again
    python3 - "$1" "$2" <<'END'
import os, random, sys
piece = random.Random(1).randbytes(64 << 20)
with open(sys.argv[1], "wb") as f:
    for _ in range(int(sys.argv[2]) * 1000000000 // len(piece)):
        f.write(piece)
END
}

limit_row() { # NAME WORDS
    local start
    echo '/bin/sleep infinity' >"$M/snapshots/$1/.bladefs/exec"
    blade_up a
    start=$(now_ms)
    load "$1" a || echo "| $2 | failed: $(<"$M/blades/a/error") | | |"
    printf '| %s | %d s | %d MB | %d MB |\n' "$2" $((($(now_ms) - start) / 1000)) \
        $(($(peak_kib "$(pid_of)") / 1024)) $(($(peak_kib "$(<"$(blade_dir a).pid")") / 1024))
    store_end
}

limits() {
    local files=${FILES:-1000000} gigabytes=${GIGABYTES:-50}
    echo "| a load with its capture | time | bladefs, peak | bladed, peak |"
    echo "|---|---|---|---|"
    local part
    for part in ${PARTS:-files sparse repeating}; do
        store_new
        busybox_root "$STORE/snapshots/$part"
        case $part in
            files) many_files "$STORE/snapshots/files/www" "$files" ;;
            sparse) truncate -s "${gigabytes}G" "$STORE/snapshots/sparse/sparse" ;;
            repeating) # both ends and the page cache need the room
                gigabytes=$(df --output=avail -B1000000000 "$work" |
                    awk -v most="$gigabytes" 'END {n = int(($1 - 4) / 3); print n < most ? n : most}')
                repeating_file "$STORE/snapshots/repeating/repeating" "$gigabytes"
                ;;
        esac
        rack_up
        case $part in
            files) limit_row files "$files files" ;;
            *) limit_row "$part" "a $part file of $gigabytes GB" ;;
        esac
    done
}
