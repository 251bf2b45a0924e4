# What the programs beside this file share; they source it. It holds nothing
# about any one server.
#
# shellcheck shell=bash
#
# A server that is named without --instance belongs to the checkout: its ports
# follow from the checkout's path. One with --instance NAME is somebody's own: it
# takes free ports, keeps them for as long as its data is there, and may be
# killed without disturbing anybody.

checkout_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
checkout=$(cksum <<<"$checkout_root" | cut -d' ' -f1)
servers=${REDRIVE_SERVERS_DIR:-/var/tmp/redrive-servers-$(id -u)-$checkout}
downloads=${REDRIVE_DOWNLOADS:-/var/tmp/redrive-downloads-$(id -u)}
# The ports of a checkout: a block of 64 below those that systems give to outgoing
# connections. Private instances take theirs from the same range.
first_port=10000
block=$((first_port + checkout % 340 * 64))

# What parse_arguments sets. A program that has several versions sets the default.
kind=
version=${version:-}
command=
instance=${REDRIVE_SERVER_INSTANCE:-}
owner=
extra=()
# What locate sets.
dir=
log=
certificates=
ports=()

fail() {
  echo "$kind: $*" >&2
  exit 1
}

# parse_arguments KIND ARGUMENTS... reads the command and the options.
parse_arguments() {
  kind=$1
  shift
  while [[ $# -gt 0 ]]; do
    case $1 in
      --instance) instance=${2:?--instance needs a name} && shift ;;
      --config) extra+=("${2:?--config needs a line}") && shift ;;
      --owner) owner=${2:?--owner needs a process id} && shift ;;
      --version)
        [[ -n $version ]] || usage
        version=${2:?--version needs a number} && shift
        ;;
      -*) usage ;;
      *)
        [[ -z $command ]] || usage
        command=$1
        ;;
    esac
    shift
  done
  [[ $instance =~ ^[A-Za-z0-9_.-]*$ ]] || fail "the instance $instance: only letters, digits, dot, dash and underscore are possible"
}

usage() {
  echo "usage: e2e/servers/${kind%%-*} up | down | kill | remove | status | url | env | fetch [--instance NAME] [--owner PID] [--config LINE]...${version:+ [--version VERSION]}" >&2
  exit 2
}

# locate FIRST COUNT chooses the directory and COUNT ports, which for the server of
# the checkout are those from FIRST in its block.
locate() {
  dir=$servers/$kind${instance:+@$instance}
  log=$dir/log
  certificates=$dir/certificates
  local first=$1 count=$2 port
  if [[ -z $instance ]]; then
    for ((port = 0; port < count; port++)); do ports+=($((block + first + port))); done
    return
  fi
  if [[ -e $dir/ports ]]; then
    read -r -a ports <"$dir/ports"
    return
  fi
  [[ $command == up ]] || return 0
  mkdir -p "$dir"
  while [[ ${#ports[@]} -lt $count ]]; do
    port=$((first_port + (RANDOM * 32768 + RANDOM) % 21760))
    answers "$port" || ports+=("$port")
  done
  echo "${ports[*]}" >"$dir/ports"
}

# answers PORT tells whether anybody listens there.
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# lock FILE SECONDS holds a lock until the program ends: two starts at once must not
# both make the data. A server must not inherit it, or it would be held for as long
# as that runs.
lock() {
  if command -v flock >/dev/null; then
    exec 9>"$1"
    flock -w "$2" 9 || fail "somebody has held $1 for $2 seconds"
  fi
}

# began PID prints when a process began: with it a process id that has been given
# again is not taken for ours.
began() {
  if [[ -e /proc/$1/stat ]]; then
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
  elif [[ ! -d /proc/self ]]; then
    ps -o lstart= -p "$1" 2>/dev/null
  fi
}

# alive NAME prints the process id in dir/NAME.pid if that process still runs.
alive() {
  local pid start
  [[ -e $dir/$1.pid ]] && read -r pid start <"$dir/$1.pid" || return 1
  [[ -n $start && $(began "$pid") == "$start" ]] || return 1
  # A killed process that nobody has waited for is gone all the same, but not before
  # its last thread is, which holds its ports.
  if [[ $(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -c1) == Z ]]; then
    local threads=("/proc/$pid/task/"*)
    [[ ${#threads[@]} -gt 1 ]] || return 1
  fi
  echo "$pid"
}

remember() { echo "$2 $(began "$2")" >"$dir/$1.pid.new" && mv "$dir/$1.pid.new" "$dir/$1.pid"; }

# detach NAME COMMAND... starts a server that outlives this program, logs to log and
# is remembered as NAME.
detach() {
  local name=$1 session=()
  shift
  ! command -v setsid >/dev/null || session=(setsid)
  "${session[@]+"${session[@]}"}" "$@" >>"$log" 2>&1 </dev/null 9>&- &
  remember "$name" $!
  disown
}

# stop NAME SIGNAL SECONDS sends the signal and waits until the process is gone; it
# is killed when that takes longer.
stop() {
  local pid i
  pid=$(alive "$1") || return 0
  kill -"$2" "$pid" 2>/dev/null || true
  for ((i = 0; i < $3 * 20; i++)); do
    alive "$1" >/dev/null || return 0
    sleep 0.05
  done
  kill -KILL "$pid" 2>/dev/null || true
  for ((i = 0; i < 200; i++)); do
    alive "$1" >/dev/null || return 0
    sleep 0.05
  done
  fail "process $pid does not end"
}

# await SECONDS WHAT COMMAND... waits until the command is true, for as long as the
# process called server runs.
await() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    alive server >/dev/null || fail "ended before $what: $(last_words); see $log"
    [[ $SECONDS -lt $until ]] || fail "does not become ready ($what); see $log"
    sleep 0.1
  done
}

# last_words prints what stands at the end of the log, on one line.
last_words() { tail -n 3 "$log" 2>/dev/null | cut -c1-200 | tr '\n' ' '; }

# mark_log remembers how long the log is, so that logged looks at what follows only.
log_mark=0
mark_log() {
  touch "$log"
  log_mark=$(wc -c <"$log")
}
logged() { tail -c +$((log_mark + 1)) "$log" | grep -q -e "$1"; }

# watch_owner ends and removes this instance when the process that asked for it is
# gone, so that a test which is killed leaves no server.
watch_owner() {
  [[ -n $owner ]] || return 0
  ! alive watch >/dev/null || return 0
  local start
  start=$(began "$owner")
  [[ -n $start ]] || fail "its owner, process $owner, is not there"
  # shellcheck disable=SC2016 # expanded by the shell that runs it
  log=/dev/null detach watch bash -c '
    began() { sed "s/.*) //" "/proc/$1/stat" 2>/dev/null | cut -d" " -f20; }
    [[ -d /proc/self ]] || began() { ps -o lstart= -p "$1" 2>/dev/null; }
    while [[ -e $5/ports && $(began "$1") == "$2" ]]; do sleep 1; done
    shift 2
    [[ ! -e $3/ports ]] || exec "$1" remove --instance "$2" "${@:4}"
  ' watch "$owner" "$start" "$checkout_root/e2e/servers/${kind%%-*}" "$instance" "$dir" ${version:+--version "$version"}
}

# extra_configuration prints the lines that --config gave, now or at an earlier start
# of this instance.
extra_configuration() {
  [[ ${#extra[@]} -eq 0 ]] || printf '%s\n' "${extra[@]}" >"$dir/extra"
  [[ ! -e $dir/extra ]] || cat "$dir/extra"
}

# write_certificates makes a certificate authority, and by it a server's and a
# client's certificate.
write_certificates() {
  [[ ! -e $certificates/complete ]] || return 0
  command -v openssl >/dev/null || install_packages openssl openssl
  rm -rf "$certificates"
  mkdir -p "$certificates"
  (
    cd "$certificates"
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj '/CN=redrive tests' -keyout ca.key -out ca.pem
    sign() { # NAME SUBJECT EXTENSIONS
      openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
      openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile <(printf '%s\n' "$3") -out "$1.pem"
    }
    sign server /CN=localhost 'subjectAltName=DNS:localhost,IP:127.0.0.1'
    sign client /CN=redrive 'extendedKeyUsage=clientAuth'
    # Some servers read key and chain from one file.
    cat server.key server.pem ca.pem >server.both.pem
    touch complete
  ) >>"$log" 2>&1 || fail "cannot make certificates; see $log"
}

# install_packages PROGRAM PACKAGE... installs Debian packages for a program that is
# missing, which needs root.
install_packages() {
  local program=$1
  shift
  command -v apt-get >/dev/null || fail "$program is not installed"
  [[ $(id -u) == 0 ]] || fail "$program is not installed: run apt-get install $* as root"
  mkdir -p "$downloads"
  {
    flock -w 600 8 &&
      apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y -q --no-install-recommends "$@"
  } >>"$downloads/install.log" 2>&1 </dev/null 8>"$downloads/install.lock" ||
    fail "apt-get could not install $*; see $downloads/install.log"
}

# need_java sets java to a Java that the servers run on.
java=
need_java() {
  java=${JAVA_HOME:+$JAVA_HOME/bin/}java
  command -v "$java" >/dev/null || install_packages java default-jre-headless
  local major
  major=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
  [[ ${major:-0} -ge 17 ]] || fail "it needs Java 17 or newer, and $java is ${major:-unknown}"
}

# jars POM sets jars to the folder with everything that a pom.xml beside this file
# names, from Maven Central, and fetches it if it is not there yet. Its name holds a
# checksum of the file.
jars=
fetch_jars() {
  local pom=$checkout_root/e2e/servers/$1 made
  jars=$downloads/${1%.pom.xml}-$(cksum <"$pom" | cut -d' ' -f1)
  [[ ! -d $jars ]] || return 0
  mkdir -p "$downloads"
  command -v mvn >/dev/null || install_packages mvn maven default-jre-headless
  (
    flock -w 900 8
    [[ ! -d $jars ]] || exit 0
    made=$(mktemp -d "$downloads/.new-XXXXXX")
    trap 'rm -rf "$made"' EXIT
    cp "$pom" "$made/pom.xml"
    (cd "$made" && mvn -B -ntp -q org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$made/jars") >"$downloads/$1.log" 2>&1 </dev/null || exit 1
    mv "$made/jars" "$jars"
  ) 8>"$downloads/$1.lock" || fail "Maven could not fetch it; see $downloads/$1.log"
}

# run_command runs the command that parse_arguments found. Each program defines
# fetch, up, down, ready, urls and settings; kill is the same for all.
run_command() {
  case $command in
    up)
      mkdir -p "$dir"
      lock "$dir/lock" 900
      fetch
      if ! alive server >/dev/null || ! ready; then
        stop server KILL 1
        up
      fi
      watch_owner
      urls
      ;;
    fetch) fetch ;;
    down)
      [[ ! -d $dir ]] || { lock "$dir/lock" 300 && down; }
      echo "$kind: down"
      ;;
    kill)
      [[ -d $dir ]] || fail "it is not up"
      lock "$dir/lock" 300
      stop server KILL 10
      ;;
    remove)
      if [[ -d $dir ]]; then
        lock "$dir/lock" 300
        down
        # Whoever watches the owner ends by itself when this is gone, or is us.
        rm -rf "$dir"
      fi
      ;;
    status)
      if alive server >/dev/null && ready; then
        echo "$kind: up, $(urls | tr '\n' ' ')"
      else
        echo "$kind: down"
        exit 1
      fi
      ;;
    url) urls ;;
    env)
      [[ ${#ports[@]} -gt 0 ]] || fail "it is not up"
      settings
      echo "pid=$(alive server || true)"
      echo "dir=$dir"
      echo "log=$log"
      ;;
    *) usage ;;
  esac
}
