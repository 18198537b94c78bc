# Sourced by the shell tests: . "$TESTS/lib.sh"
#
# The runner (tests/run) sets STARLING (the binary), STARLING_ARGS (more arguments for `starling run`), TESTS, BUILD, and
# an empty directory of the test's own as TMPDIR and current directory. Status 77 is a skip.
#
#   need CMD...                 skip unless every CMD exists
#   need_toolchain CMD [DIR...]  skip unless CMD is in the caller's PATH or a DIR; sets TOOL
#   skip REASON                 end here, as a skip
#   fail TEXT                   count a failure, go on
#   compiled NAME...             makes each NAME of NAME.c; false without a C compiler; one that does not compile fails
#   run ARG...                  starling run $STARLING_ARGS ARG...
#   same NAME CMD ARG...        run CMD natively, then under Starling; both must give the same output and status.
#                               Standard input is given to both (a here-document; else it is empty).
#   same_script NAME CMD ARG... the same with the here-document as a file: CMD ARG... FILE
#   expect_native PATTERN       the last `same`'s native output must contain this: a guard against a test that
#                               compares two empty outputs
#   expect STATUS OUT ERR CMD ARG...
#                               CMD ARG... must end with STATUS, and what it prints to standard output and error must
#                               match the extended regular expressions OUT and ERR ('' : nothing may be printed)
#   check TEXT CMD ARG...       CMD ARG... must end with status 0
#   finish                      the test's verdict; last line of every test, which fails without it
#
# Each run of `same` starts in a fresh directory $WORK (the same path for both), filled by the test's function `prepare`
# if it defined one. Under Starling the host's files are read-only below a layer in memory: `same` also checks that
# nothing below $WORK has changed on the host. With BIND=1 $WORK is bound writable instead, and what the two runs leave
# there is compared: names, types, modes, sizes, contents.
# READONLY=1: CMD changes nothing, so both runs may use the directory as the first one found it.
# LIMIT: seconds one run may take (60). STDERR=1: compare standard error too. RUN_ARGS: array of more run options.
# STATUS: the status the native run must have (0): a command that fails in both alike is no test.

set -u
ulimit -c 0
T=${TMPDIR:?"run this test by tests/run"}
WORK=$T/work
failures=0
checks=0
RUN_ARGS=()
LIMIT=60
eval "starling_args=(${STARLING_ARGS:-})"

# A test that only ends has not been judged.
trap 'echo "not ok: the test did not reach its finish"; exit 1' EXIT

skip() {
    trap - EXIT
    echo "$*"
    exit 77
}

need() {
    local c
    for c in "$@"; do
        command -v "$c" >/dev/null || skip "$c is not installed"
    done
}

need_toolchain() {
    local c=$1 IFS=:
    shift
    TOOL=$(PATH=${STARLING_USER_PATH:-$PATH}:$*:${STARLING_USER_HOME:-}/.cargo/bin type -P "$c") || skip "$c is not installed"
}

fail() {
    echo "not ok: $*"
    failures=$((failures + 1))
}

compiled() {
    local name
    command -v cc >/dev/null || return
    for name in "$@"; do
        cc -O0 -w -o "$name" "$name.c" || { fail "$name.c does not compile" && return 1; }
    done
}

run() {
    "$STARLING" run "${starling_args[@]}" "$@"
}

# What a directory holds, one line per name; inode numbers and times only where nothing may have touched it.
tree() {
    (cd "$WORK" && find . -printf "$1" | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum)
}

fresh() {
    chmod -R u+rwx "$WORK" 2>/dev/null
    rm -rf "$WORK"
    mkdir -p "$WORK"
    ! declare -F prepare >/dev/null || (cd "$WORK" && prepare) || fail "prepare failed"
    export TMPDIR=$WORK HOME=$WORK
}

same_run() { # NAME CMD...   standard input in $T/stdin
    local name=$1 native starling began native_ms starling_ms
    shift
    checks=$((checks + 1))
    fresh
    began=${EPOCHREALTIME/./}
    (cd "$WORK" && exec timeout -k 5 "$LIMIT" "$@" <"$T/stdin" >"$T/native.out" 2>"$T/native.err")
    native=$?
    native_ms=$(((${EPOCHREALTIME/./} - began) / 1000))
    [ -z "${BIND:-}" ] || tree '%y %m %s %n %p %l\n' >"$T/native.tree"
    [ -n "${READONLY:-}" ] || fresh
    if [ -n "${BIND:-}" ]; then
        RUN_ARGS+=(--bind "$WORK:$WORK")
    else
        tree '%i %y %m %s %n %T@ %p %l\n' >"$T/before.tree"
    fi
    began=${EPOCHREALTIME/./}
    (cd "$WORK" && exec timeout -k 5 "$LIMIT" "$STARLING" run "${starling_args[@]}" "${RUN_ARGS[@]}" -- "$@" \
        <"$T/stdin" >"$T/starling.out" 2>"$T/starling.err")
    starling=$?
    starling_ms=$(((${EPOCHREALTIME/./} - began) / 1000))
    [ -z "${BIND:-}" ] || RUN_ARGS=("${RUN_ARGS[@]:0:${#RUN_ARGS[@]}-2}")

    local bad=
    [ "$native" = "${STATUS:-0}" ] || bad="the native run gave status $native, expected ${STATUS:-0}"
    [ "$native" = "$starling" ] || bad="${bad:+$bad; }status $starling under Starling, $native natively"
    cmp -s "$T/native.out" "$T/starling.out" || bad="${bad:+$bad; }output differs"
    [ -z "${STDERR:-}" ] || cmp -s "$T/native.err" "$T/starling.err" || bad="${bad:+$bad; }standard error differs"
    if [ -n "${BIND:-}" ]; then
        tree '%y %m %s %n %p %l\n' >"$T/starling.tree"
        cmp -s "$T/native.tree" "$T/starling.tree" || bad="${bad:+$bad; }the files left behind differ"
    else
        tree '%i %y %m %s %n %T@ %p %l\n' >"$T/after.tree"
        cmp -s "$T/before.tree" "$T/after.tree" || bad="${bad:+$bad; }the run changed the host's files"
    fi
    if [ -z "$bad" ]; then
        echo "ok $name: native $native_ms ms, starling $starling_ms ms"
        return 0
    fi
    fail "$name: $bad"
    local pair
    for pair in native.out:starling.out native.err:starling.err ${BIND:+native.tree:starling.tree} \
        $([ -n "${BIND:-}" ] || echo before.tree:after.tree); do
        diff -u "$T/${pair%:*}" "$T/${pair#*:}" 2>&1 | cut -c1-300 | head -n 25
    done
    return 1
}

same() {
    cat >"$T/stdin"
    same_run "$@" || true
}

same_script() {
    local name=$1
    shift
    cat >"$T/script"
    : >"$T/stdin"
    same_run "$name" "$@" "$T/script" || true
}

expect_native() {
    grep -qF -- "$1" "$T/native.out" && return 0
    fail "the native output lacks '$1'; the test itself is wrong:"
    head -c 2000 "$T/native.out"
}

expect() {
    local want=$1 out=$2 err=$3 got
    shift 3
    checks=$((checks + 1))
    timeout -k 5 "$LIMIT" "$@" >"$T/out" 2>"$T/err"
    got=$?
    [ "$got" = "$want" ] || fail "$*: status $got, expected $want; it said: $(head -c 500 "$T/out" "$T/err")"
    expect_text "$T/out" "$out" "$*: standard output"
    expect_text "$T/err" "$err" "$*: standard error"
}

expect_text() { # FILE PATTERN WHAT
    local text
    text=$(<"$1")
    if [ -z "$2" ]; then
        [ -z "$text" ] || fail "$3 should be empty, but is: $text"
    else
        [[ $text =~ $2 ]] || fail "$3 does not match '$2': $text"
    fi
}

check() {
    local text=$1
    shift
    checks=$((checks + 1))
    "$@" || fail "$text"
}

finish() {
    [ "$checks" != 0 ] || [ "$failures" != 0 ] || fail "the test checked nothing"
    trap - EXIT
    [ "$failures" = 0 ]
    exit
}
