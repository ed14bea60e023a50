#!/usr/bin/env bash
# The layers hold: fs -> engine -> blob, never back; the agent meets the controller only in wire and blob; codecs do no
# I/O. What a file includes is what it may know.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
bad=0

# FILES-PATTERN, then the includes that are refused in them (extended regular expression over the header's name)
refuse() {
    local files=$1 headers=$2 why=$3 found
    # shellcheck disable=SC2086  # patterns of git
    found=$(git ls-files -- $files | grep -E '\.[ch]$' | xargs -r grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($headers)[\">]")
    if [[ -n $found ]]; then
        echo "$why:"
        echo "$found"
        bad=1
    fi
}

own_headers() { # the base names of the private headers of a folder
    git ls-files -- "$1" | grep -E '\.h$' | grep -v '/include/' | sed 's#.*/##' | paste -sd'|' | sed 's/\./\\./g'
}

refuse 'blob/*' '(engine|wire)/.*|fuse.*|sys/socket\.h|netinet/.*|openssl/.*|sqlite3\.h|jansson\.h' 'blob/ knows no engine, FUSE, socket or TLS'
refuse 'engine/*' 'fuse.*|fs/.*' 'engine/ knows no FUSE'
refuse 'engine/*' "$(own_headers 'fs/*')" 'engine/ knows nothing of fs/'
refuse 'fs/*' 'blob/.*|wire/.*|sqlite3\.h|openssl/.*|liburing\.h|xxhash\.h|zstd\.h|jansson\.h' 'fs/ knows of the engine only engine.h'
refuse 'engine/agent/*' 'engine/.*|sqlite3\.h|fuse.*' 'the agent knows the controller only through wire and blob'
refuse 'engine/wire/*' 'engine/.*|liburing\.h|sys/socket\.h|sys/uio\.h|poll\.h|base/loop\.h|blob/store\.h|pthread\.h|fcntl\.h' 'engine/wire does no I/O'
refuse 'blob/cut.c blob/id.c blob/record.c blob/image*.c' 'fcntl\.h|sys/stat\.h|base/fdio\.h|base/loop\.h|blob/store\.h' 'codecs do no I/O'
for header in $(git ls-files -- 'engine/*.h' | grep -v -E '/(include|agent|wire)/' | sed 's#.*/##'); do
    refuse 'engine/agent/*' "${header//./\\.}" "the agent knows nothing of the controller's parts"
    refuse 'fs/*' "${header//./\\.}" 'fs/ knows of the engine only engine.h'
done

# The fixed top level.
odd=$(git ls-files | grep -vE '^(fs|engine|blob|tests|examples)/|^(meson\.build|README\.md|LICENSE)$|^\.')
[[ -z $odd ]] || { echo "outside the fixed top level:"; echo "$odd"; bad=1; }

# Files of a size that can be read.
long=$(git ls-files '*.c' '*.h' | xargs wc -l | awk '$2 != "total" && $1 > 800')
[[ -z $long ]] || { echo "over 800 lines:"; echo "$long"; bad=1; }
exit $bad
