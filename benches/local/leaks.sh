#!/bin/sh
# Looks for memory that the local engine loses: the tiny model is loaded, asked and dropped 2 and then 6 times under valgrind.
# What is lost once for the process (tables of libraries) is the same for both; what is lost at each load, request or drop is not.
#
#   cargo build -p katena-local-benches --bin ask-and-drop && benches/local/leaks.sh [target/debug/ask-and-drop]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
program=${1:-${CARGO_TARGET_DIR:-$root/target}/debug/ask-and-drop}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
lost() { # times
    log=$(mktemp)
    valgrind --leak-check=full --num-callers=30 --log-file="$log" "$program" "$1" || { cat "$log" >&2; exit 1; }
    # "definitely lost: 1,234 bytes in 5 blocks"; no such line if nothing at all is left.
    for kind in definitely indirectly; do
        sed -n "s/.*$kind lost: \([0-9,]*\) bytes.*/\1/p" "$log" | tr -d ,
    done | awk '{ sum += $1 } END { print sum + 0 }'
    if [ "$1" = 6 ]; then cat "$log" >&2; fi
    rm -f "$log"
}
few=$(lost 2)
many=$(lost 6)
echo "bytes lost after 2 rounds: $few, after 6 rounds: $many"
[ "$few" = "$many" ] || { echo "every round loses memory" >&2; exit 1; }
