# What the scripts of this folder share. Sourced, not run.
#
# A broker lives in a folder of its own: its settings, its data, `server.log`, `pid` while it runs,
# and `addresses`, which it keeps when it is started again.

brokers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$brokers/../.." && pwd)
cache=${CARGO_TARGET_DIR:-$root/target}/brokers
java_options=(-Xms256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1)

fail() {
    printf 'error: %s\n' "$1" >&2
    exit "${2:-1}"
}

# Where a broker cannot be had at all, the tests that need it are skipped.
unavailable() { # reason, remedy
    fail "$1: $2" 3
}

# Sets `name`, and from `--dir` and `--while` the variables `dir` and `guardian`.
parse_arguments() {
    name=${1:-} dir='' guardian='' keep=''
    case $name in
        kafka | pulsar) shift ;;
        *) fail "usage: $(basename "$0") kafka|pulsar [--dir DIR] [--while PID] [--keep]" 2 ;;
    esac
    while [ $# -gt 0 ]; do
        case $1 in
            --dir) dir=$2 && shift 2 ;;
            --while) guardian=$2 && shift 2 ;;
            --keep) keep=yes && shift ;;
            *) fail "unknown option $1" 2 ;;
        esac
    done
    current=$cache/$name.dir
}

# Whether a process is there, and not only what is left of it until its parent looks.
is_alive() { # process id
    kill -0 "$1" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null
}

is_running() { # folder
    [ -f "$1/pid" ] && is_alive "$(cat "$1/pid")"
}

# Gets the jars of `$name` into `$jars`, once.
get_jars() {
    command -v java >/dev/null || unavailable "there is no java" "apt-get install openjdk-17-jre-headless"
    local version
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
    [ "${version:-0}" -ge 17 ] || unavailable "java is version ${version:-unknown}" "install Java 17 or later"
    jars=$cache/$name-$(cksum <"$brokers/$name/pom.xml" | cut -d' ' -f1)
    mkdir -p "$cache"
    exec 9>"$jars.lock"
    flock 9
    if [ ! -f "$jars/complete" ]; then
        command -v mvn >/dev/null || unavailable "there is no mvn" "apt-get install maven"
        mvn -B -q -f "$brokers/$name/pom.xml" ${settings:+-s "$settings"} dependency:copy-dependencies \
            -DincludeScope=runtime -DoutputDirectory="$jars" >"$jars.log" 2>&1 ||
            unavailable "the jars of $name cannot be had from Maven Central" "see $jars.log, then try again"
        touch "$jars/complete"
    fi
    exec 9>&-
}

free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
    done
    fail "no free port was found on 127.0.0.1"
}

# Waits until the process `$1` has written the line `$2` into the log; false when it ends before.
wait_for_line() {
    for _ in $(seq 600); do
        grep -q "$2" "$dir/server.log" 2>/dev/null && return
        is_alive "$1" || return 1
        sleep 0.2
    done
    return 1
}

# Starts the broker's process in the background, with the arguments of `java`.
launch() {
    cat >"$dir/log4j2.properties" <<'SETTINGS'
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c %m%n
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
SETTINGS
    : >"$dir/server.log"
    setsid java "${java_options[@]}" -Dlog4j2.configurationFile="$dir/log4j2.properties" "$@" >>"$dir/server.log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
}

# Stops the broker of a folder by its process id.
terminate() { # folder
    is_running "$1" || return 0
    local pid
    pid=$(cat "$1/pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
        is_alive "$pid" || break
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$1/pid"
}
