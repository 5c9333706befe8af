#!/bin/sh
# Builds llama-bench and llama-batched-bench for `against-llama-cpp`: their sources from the llama-cpp-python sdist, linked
# with the very static libraries that this workspace's llama-cpp-sys-2 has built, with the flags that built them.
#
#   benches/local/tools.sh [release|debug]
#
# The programs and llama.cpp's server (a Python package) end up in $KATENA_CACHE/tools (default: the user's cache folder).
# Both programs measure CPU time: clock.c answers for the system's clock with the process' CPU clock.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
profile=${1:-release}
version=0.3.36
cache=${KATENA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/katena}/tools
target=${CARGO_TARGET_DIR:-$root/target}
sources=$cache/llama-cpp-python-$version
out=$cache/llama-tools

say() { echo "tools: $*" >&2; }

if [ ! -d "$sources" ]; then
    say "fetching the tools' sources"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
        --dest "$work" "llama-cpp-python==$version"
    mkdir "$work/tree"
    tar -xzf "$work"/llama_cpp_python-$version.tar.gz -C "$work/tree" --strip-components=3 \
        "llama_cpp_python-$version/vendor/llama.cpp/tools/llama-bench" \
        "llama_cpp_python-$version/vendor/llama.cpp/tools/batched-bench" \
        "llama_cpp_python-$version/vendor/llama.cpp/LICENSE"
    mkdir -p "$cache"
    mv "$work/tree" "$sources"
fi

if [ ! -d "$cache/xllamacpp-2026.10.11549" ]; then
    say "fetching llama.cpp's server"
    python3 -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
        --target "$cache/xllamacpp-2026.10.11549" "xllamacpp==2026.10.11549"
fi

# The newest build of the sys crate that has all the libraries.
built=$(ls -td "$target/$profile"/build/llama-cpp-sys-2-*/out | while read -r folder; do
    [ -f "$folder/lib/libllama-common.a" ] && echo "$folder" && break
done || true)
[ -n "$built" ] || { say "no build of llama-cpp-sys-2 under $target/$profile: build katena-local-benches first"; exit 1; }
flags=$(sed -n 's/^CXX_FLAGS = //p' "$built/build/ggml/src/CMakeFiles/ggml-cpu.dir/flags.make" | sed 's/-W[^ ]*//g')
# …/llama.cpp/ggml/src/.. and so on, as the build was told.
source=$(sed -n 's/^CXX_INCLUDES = //p' "$built/build/ggml/src/CMakeFiles/ggml-cpu.dir/flags.make" |
    tr ' ' '\n' | sed -n 's/^-I\(.*\/llama\.cpp\)\/ggml\/.*/\1/p' | head -1)

# All of its libraries; OpenSSL where its build found it.
libraries=$(find "$built/build" -name '*.a' ! -name 'libmtmd*')
ssl=$(sed -n 's/^OPENSSL_\(SSL\|CRYPTO\)_LIBRARY:FILEPATH=\(\/.*\)/\2/p' "$built/build/CMakeCache.txt")

work=$(mktemp -d)
cc -O2 -c "$here/clock.c" -o "$work/clock.o"
build() { # name, folder of its sources
    say "building $1"
    # shellcheck disable=SC2086
    c++ $flags -w -I"$source/include" -I"$source/common" -I"$source/ggml/include" -I"$source/vendor" \
        -I"$sources/$2" "$sources/$2"/*.cpp "$work/clock.o" -o "$work/$1" \
        -Wl,--start-group $libraries -Wl,--end-group $ssl -lpthread -ldl -lgomp
}
build llama-bench llama-bench
build llama-batched-bench batched-bench
mkdir -p "$out"
mv "$work/llama-bench" "$work/llama-batched-bench" "$out/"
rm -rf "$work"
say "in $out"
