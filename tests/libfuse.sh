#!/usr/bin/env bash
# Builds libfuse from a Debian's source package, for the tests, into a prefix of its own, and with it PREFIX/bin/passthrough_hp,
# libfuse's own example, which the benchmark of the mount is compared with:
#   tests/libfuse.sh VERSION PREFIX      VERSION: 3.14 (bookworm's), 3.17 (trixie's) or 3.18 (sid's); needs root, half a minute
# Then: PKG_CONFIG_PATH=PREFIX/lib/pkgconfig meson setup build-fuse318 && LD_LIBRARY_PATH=PREFIX/lib ...
# The source list is made from the machine's own one with the suite's name replaced, in an APT_CONFIG of its own, for
# sources only: no binary of that suite is ever installed.
set -euo pipefail
version=${1:?usage: libfuse.sh VERSION PREFIX} prefix=$(realpath -m "${2:?usage: libfuse.sh VERSION PREFIX}")
case $version in
    3.14) suite=bookworm ;;
    3.17) suite=trixie ;;
    3.18) suite=sid ;;
    *)
        echo "libfuse.sh: no known suite has libfuse $version: 3.14, 3.17 or 3.18" >&2
        exit 1
        ;;
esac
# Its fusermount3 would be taken where others can reach it, and has no right to mount: the machine's own has.
without_fusermount3() { rm -f "$prefix/bin/fusermount3"; }
if [[ -e $prefix/bin/passthrough_hp ]]; then
    without_fusermount3
    exit 0
fi
[[ $(id -u) == 0 ]] || {
    echo "libfuse.sh: needs root, for apt's build tools" >&2
    exit 1
}
work=$(mktemp -d "${TMPDIR:-/tmp}/libfuse.XXXXXX")
trap 'rm -rf "$work"' EXIT

site=$(apt-get indextargets --format '$(SITE)' | grep -v security | head -n 1)
mkdir -p "$work"/{lists/partial,cache/archives/partial,src}
chmod 755 "$work"
cat >"$work/sources.sources" <<END
Types: deb-src
URIs: $site
Suites: $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
cat >"$work/apt.conf" <<END
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$work/parts";
Dir::State::Lists "$work/lists";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
END
mkdir "$work/parts"
mv "$work/sources.sources" "$work/parts/"

DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
    gcc g++ meson ninja-build pkg-config dpkg-dev libnuma-dev liburing-dev >"$work/log" 2>&1 || { tail "$work/log"; exit 1; }
export APT_CONFIG=$work/apt.conf
apt-get update -q >"$work/log" 2>&1 || { tail "$work/log"; exit 1; }
(cd "$work/src" && apt-get source -q fuse3 >"$work/log" 2>&1) || { tail "$work/log"; exit 1; }
unset APT_CONFIG
tree=$(find "$work/src" -maxdepth 1 -type d -name 'fuse3-*' | head -n 1)
[[ $(basename "$tree") == fuse3-$version* ]] || {
    echo "libfuse.sh: $suite has $(basename "$tree") now, not $version" >&2
    exit 1
}
meson setup "$work/build" "$tree" -Dtests=false -Dexamples=true -Dcpp_args=-DHAVE_UTIMENSAT -Duseroot=false -Dinitscriptdir= \
    -Dudevrulesdir="$prefix/lib/udev" --prefix "$prefix" --libdir=lib >"$work/log" 2>&1 || { tail "$work/log"; exit 1; }
ninja -C "$work/build" install >"$work/log" 2>&1 || { tail "$work/log"; exit 1; }
without_fusermount3
mkdir -p "$prefix/bin"
cp "$work/build/example/passthrough_hp" "$prefix/bin/"
PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --modversion fuse3
