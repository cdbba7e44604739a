# Read-only commands, each framed, so that kdiag can tell what printed what. POSIX sh; nothing is written anywhere.
# kdiag sets in front: nonce encodings use_sudo watch asks only limit.
LC_ALL=C
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin:/opt/bin:/var/lib/rancher/k3s/data/current/bin/aux"
export LC_ALL PATH
newline='
'

has() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root: through sudo where that is needed and wanted, without ever asking for a password.
root() {
  if [ "$by_sudo" = no ]; then
    "$@"
  elif has sudo; then
    found=$(command -v "$1") && shift && sudo -n -k "$found" "$@"
  else
    echo 'sudo: there is none on this node' >&2
    return 127
  fi
}

# True if sudo would run a command, or if there is no such program.
may() {
  found=$(command -v "$1") || return 0
  shift
  sudo -n -k -l "$found" "$@" >/dev/null 2>&1
}

# part FILE COMMAND...: frames what the command prints, its exit status and the end of its error text.
part() {
  file=$1
  shift
  echo "kdiag: $file" >&2
  printf 'kdiag:%s:begin:%s\n' "$nonce" "$file"
  got=$(
    {
      {
        "$@" 2>&4 </dev/null
        printf '\n%s\n' "$?" >&4
      } | head -c "$limit" >&3
    } 4>&1 | tail -c 4000
  )
  printf '\nkdiag:%s:end:%s\n%s\nkdiag:%s:done\n' "$nonce" "${got##*"$newline"}" "${got%"$newline"*}" "$nonce"
}

# Takes a dump apart by lines. The chains that kube-proxy makes for Services and endpoints, which are the same on all
# nodes, go to standard output in their order; those that lead to them, whose order is by chance, to descriptor 4; all else
# to descriptor 3, without dates and counters. The last rule of KUBE-SERVICES has to stay the last and goes there, too.
# A chain KUBE-EXT is the node's own, as a whole, where traffic is kept on the node (externalTrafficPolicy Local).
# shellcheck disable=SC2016
apart='
function own(text) { print text > "/dev/fd/3" }
function external_ends(    i) {
  for (i = 1; i <= external; i++) if (keeps_local) own(line[i]); else print line[i]
  external = keeps_local = 0
  chain = ""
}
nat && /^(-A |:)KUBE-S(EP|VC)-/ { if (external) external_ends(); print; next }
nat && /^-A KUBE-EXT-/ {
  if ($2 != chain) external_ends()
  chain = $2
  line[++external] = $0
  if (/ --src-type LOCAL | -j KUBE-SVL-/) keeps_local = 1
  next
}
external { external_ends() }
nat && /^-A KUBE-SERVICES / { if (held) print last > "/dev/fd/4"; last = $0; held = 1; next }
held { own(last); held = 0 }
nat && /^-A KUBE-NODEPORTS / { print > "/dev/fd/4"; next }
nat && /^:KUBE-EXT-/ { print; next }
/^#/ { next }
/^[*]/ { nat = $0 == "*nat" }
/^:/ { sub(/ [[][0-9]+:[0-9]+[]]$/, " [0:0]") }
{ own($0) }
END {
  external_ends()
  if (held) own(last)
  close("/dev/fd/3")
}
'

# Reads a dump and prints what is the node's own of it, then the digests of the rest; nothing of what is no dump, which may
# have lines without end. Where there is very much of its own the digests are missing, and the dump will be wanted.
digests() {
  first=$(dd bs=1 count=1 2>/dev/null)
  case $first in
    '#' | '*') { printf '%s' "$first" && cat; } | taken_apart | { head -c 8388608 && cat >/dev/null; } ;;
    *) cat >/dev/null ;;
  esac
}

taken_apart() {
  {
    { awk "$apart" 3>&8 | sha256sum | sed -e 's/ .*//' -e 's/^/ordered=/' >&8; } 4>&1 | sort | sha256sum |
      sed -e 's/ .*//' -e 's/^/unordered=/' >&8
  } 8>&1
}

# Says every few seconds that a dump is being made, as long as that uses the processor: nothing else is sent meanwhile, and
# iptables-nft-save takes four times as long for twice as many chains.
busy() {
  before=
  while sleep 2 3>&- 4>&- 5>&- 6>&-; do
    now=$(cat /proc/[0-9]*/stat 2>/dev/null | grep -E '^[0-9]+ [(](ip6?tables|xtables|head|[a-z]*awk|sort|sha256sum)' |
      cut -d ' ' -f 1,14,15)
    [ "$now" = "$before" ] || printf 'kdiag:%s:busy:%s\n' "$nonce" "$file" >&5
    before=$now
  done
}

# dump FILE COMMAND...: a part in two steps. First what is the node's own and digests of the rest; the dump itself is held
# in memory, and sent if the answer is `send`.
dump() {
  if [ "$asks" = no ]; then
    part "$@"
    return
  fi
  file=$1
  shift
  echo "kdiag: $file" >&2
  {
    busy </dev/null >/dev/null 2>&1 7>&- 9<&- &
    ticking=$!
    said=$(
      {
        printf 'kdiag:%s:begin:%s\n' "$nonce" "${file%.txt}.own"
        got=$(
          {
            {
              "$@" 2>&4 </dev/null
              printf '\n%s\n' "$?" >&4
            } | head -c "$limit" | tee /dev/fd/7 | digests >&6
          } 4>&1 | tail -c 4000
        )
        printf '\nkdiag:%s:end:%s\n%s\nkdiag:%s:done\n' "$nonce" "${got##*"$newline"}" "${got%"$newline"*}" "$nonce"
      } 6>&1
    )
    kill "$ticking"
    printf '%s\nkdiag:%s:ask:%s\n' "$said" "$nonce" "$file" >&5
  } 7>&1 | tail -c "$limit" | {
    read -r answer <&9
    if [ "$answer" = send ]; then
      printf 'kdiag:%s:packed\n' "$nonce" >&5
      {
        printf '\nkdiag:%s:begin:%s\n' "$nonce" "$file"
        cat
        printf '\nkdiag:%s:end:\n\nkdiag:%s:done\n' "$nonce" "$nonce"
      } | pack >&5
      printf '\nkdiag:%s:plain\n' "$nonce" >&5
    fi
  }
}

# note FILE TEXT: a part that could not be had, or that is known to be empty without asking.
note() { printf 'kdiag:%s:note:%s:%s\n' "$nonce" "$1" "$2"; }

# True if a module is in the kernel already: what asks one that is not would load it. Where no modules lie on disk
# nothing can be loaded, and asking does no harm.
in_kernel() {
  [ ! -e /proc/modules ] || [ -e "/sys/module/$1" ] || grep -q "^$1 " /proc/modules ||
    { modules=/lib/modules/$(uname -r) && { [ ! -e "$modules" ] || grep -qs "/$1\.ko" "$modules/modules.builtin"; }; }
}

# The programs that this node may have to be asked with, and that sudo would not run.
refused() {
  for family in ip ip6; do
    save=${family}tables
    may "$save-save" || printf '%s ' "$save-save"
    [ ! -e "/proc/net/${family}_tables_names" ] || may "$save-legacy-save" || printf '%s ' "$save-legacy-save"
    case $("$save" --version 2>/dev/null) in
      *nf_tables*) ;;
      *) may "$save-nft-save" || printf '%s ' "$save-nft-save" ;;
    esac
  done
  ! in_kernel nf_tables || { may nft list flowtables && may nft -j list ruleset; } || printf 'nft '
  ! in_kernel ip_set || may ipset save || printf 'ipset '
  [ ! -e /proc/net/ip_vs ] || may ipvsadm -S -n || printf 'ipvsadm '
}

about() {
  echo "uid=$uid"
  echo "user=$(id -un)"
  echo "host=$(uname -n)"
  echo "kernel=$(uname -r)"
  echo "time=$(date -u +%Y-%m-%dT%H:%M:%SZ)"
  if [ "$by_sudo" = no ] && [ "$uid" = 0 ]; then
    echo "sudo=not needed"
  elif [ "$use_sudo" = never ]; then
    echo "sudo=not asked"
  elif ! has sudo; then
    echo "sudo=missing"
  elif has iptables-save && may iptables-save || { ! has iptables-save && may nft -j list ruleset; }; then
    echo "sudo=allowed"
    [ "$only" = all ] || echo "sudo-refused=$(refused)"
  else
    echo "sudo=refused"
  fi
  for binary in iptables-save ip6tables-save iptables-nft-save ip6tables-nft-save iptables-legacy-save \
    ip6tables-legacy-save nft ip ss ps ipset ipvsadm curl wget zstd gzip; do
    echo "$binary=$(command -v "$binary")"
  done
}

sysctls() {
  # A path keeps its slashes: a dot may belong to an interface's name.
  grep -s . /dev/null /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_local_port_range \
    /proc/sys/net/ipv4/ip_local_reserved_ports /proc/sys/net/ipv4/ip_nonlocal_bind \
    /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv4/conf/*/route_localnet \
    /proc/sys/net/ipv4/conf/all/rp_filter /proc/sys/net/ipv4/conf/default/rp_filter \
    /proc/sys/net/ipv4/conf/all/arp_ignore /proc/sys/net/ipv4/conf/all/arp_announce \
    /proc/sys/net/ipv4/vs/* \
    /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/all/disable_ipv6 \
    /proc/sys/net/ipv6/conf/default/forwarding /proc/sys/net/bridge/bridge-nf-call-iptables \
    /proc/sys/net/bridge/bridge-nf-call-ip6tables /proc/sys/net/bridge/bridge-nf-call-arptables \
    /proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/netfilter/nf_conntrack_max \
    /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal | sed -e 's#^/proc/sys/##' -e 's#:# = #'
}

# What is in the kernel of all that rules can need.
modules() {
  sed -n -E 's/^((ip_vs|ip_set|nf_|nft_|nfnetlink|x_tables|xt_|ip6?_tables|ip6?t|ip6?table_|br_netfilter)[^ ]*) .*/\1/p' \
    /proc/modules
}

network() {
  if ip -j addr show dev lo >/dev/null 2>&1; then
    part ip-addr.json ip -j -d addr
    part ip-route.json ip -j route
    part ip6-route.json ip -j -6 route
    part ip-route-table-local.json ip -j route show table local
    part ip6-route-table-local.json ip -j -6 route show table local
  elif has ip; then
    part ip-addr.txt ip addr
    part ip-route.txt ip route
    part ip6-route.txt ip -6 route
    part ip-route-table-local.txt ip route show table local
    part ip6-route-table-local.txt ip -6 route show table local
  else
    note ip-addr.txt missing
  fi
}

# True if the family may have tables in the legacy backend: asking it otherwise would make some. Only root can read the
# file, and where it cannot be read a dump without -t is still safe: it goes through this same file.
legacy_tables() {
  [ -e "$1" ] && { names=$(cat "$1" 2>/dev/null) && [ -z "$names" ] && return 1; return 0; }
}

# rules PREFIX NAMES: every backend of one family once, and never by table.
rules() {
  case $("$1" --version 2>/dev/null) in
    *nf_tables*) default=nft ;;
    *) default=legacy ;;
  esac
  legacy=no nft=no
  legacy_tables "$2" && legacy=yes
  in_kernel nf_tables && nft=yes
  if ! has "$1-save"; then
    note "$1-save.txt" missing
    default=none
  elif [ "$default" = nft ] && [ "$nft" = no ]; then
    note "$1-save.txt" 'empty:nf_tables is not in the kernel, so there are no rules'
  elif [ "$default" = legacy ] && [ "$legacy" = no ]; then
    note "$1-save.txt" 'empty:there are no legacy tables, so there are no rules'
  else
    dump "$1-save.txt" root "$1-save"
  fi
  if [ "$default" != legacy ] && [ "$legacy" = yes ]; then
    if has "$1-legacy-save"; then
      dump "$1-legacy-save.txt" root "$1-legacy-save"
    elif [ "$default" = nft ]; then
      note "$1-legacy-save.txt" missing
    fi
  fi
  if [ "$default" != nft ] && [ "$nft" = yes ] && has "$1-nft-save"; then
    dump "$1-nft-save.txt" root "$1-nft-save"
  fi
}

ruleset() {
  if nft -j -v >/dev/null 2>&1; then
    part nft-j-list-ruleset.json root nft -j list ruleset
  else
    part nft-list-ruleset.txt root nft list ruleset
  fi
}

# nft is asked where there are tables besides those that iptables-save shows: it takes ten kilobytes of memory a rule.
# `list flowtables` names all tables; `list tables` does, too, but reads every rule first (nft 1.0.6).
find_tables() {
  tables='' others=''
  { in_kernel nf_tables && has nft; } || return 0
  echo 'kdiag: nft-list-tables.txt' >&2
  tables=$(root nft list flowtables 2>/dev/null || root nft list tables 2>/dev/null) || {
    tables=unknown others=" kube-proxy$newline"
    return 0
  }
  tables=$(printf '%s\n' "$tables" | sed -n -E 's/^(table [^ ]+ [^ ]+).*/\1/p')
  others=$(printf '%s\n' "$tables" | grep -v -x -E 'table (ip6?|arp|bridge) (raw|mangle|nat|filter|security|broute)')
  others=$others$newline
}

# What kube-proxy has there, and what may be its own where nft does not tell its tables.
nftables() {
  in_kernel nf_tables || return 0
  if ! has nft; then
    note nft-j-list-ruleset.json missing
    return 0
  fi
  [ "$tables" = unknown ] || part nft-list-tables.txt printf '%s\n' "$tables"
  case $others in
    *" kube-proxy$newline"*) ruleset ;;
  esac
}

# The tables of others come later, and only as far as a gigabyte goes.
foreign_tables() {
  case $others in
    "$newline" | '' | *" kube-proxy$newline"*) ;;
    *)
      (
        ulimit -v 1048576 2>/dev/null
        ruleset
      )
      ;;
  esac
}

virtual_servers() {
  if [ -e /proc/net/ip_vs ]; then
    got=
    if has ipvsadm; then part ipvsadm-save-n.txt root ipvsadm -S -n; fi
    # Everybody may read this, and it holds the same in other words.
    [ "${got##*"$newline"}" = 0 ] || part proc-net-ip_vs.txt cat /proc/net/ip_vs
  fi
  if in_kernel ip_set; then
    if has ipset; then
      part ipset-save.txt root ipset save
    else
      note ipset-save.txt missing
    fi
  fi
}

fetch() {
  if has curl; then
    curl -q -sS -m 5 --noproxy '*' "$1"
  elif wget --help 2>&1 | grep -q busybox; then
    http_proxy='' wget -q -T 5 -O - "$1"
  else
    wget -q -T 5 -t 1 --no-proxy --content-on-error -O - "$1"
  fi
}

proxy_answers() {
  { has curl || has wget; } || return 0
  part proxyMode.txt fetch http://127.0.0.1:10249/proxyMode
  part configz.json fetch http://127.0.0.1:10249/configz
  part kube-proxy-healthz.json fetch http://127.0.0.1:10256/healthz
}

sockets() {
  if ! { in_kernel tcp_diag && in_kernel udp_diag; }; then
    PROC_ROOT=/proc ss -ltnup
  else
    root ss -ltnup 2>/dev/null || ss -ltnup
  fi
}

# Only what has to do with the cluster: other command lines are no business of kdiag's. The brackets keep this very
# search out of its result.
components='[k]ube|[k]3s|[r]ke2|[k]0s|[o]penshift|[e]tcd|[c]ilium|[c]alico|[f]lannel|[a]ntrea|[o]vn|[w]eave'
hosts='[s]ystemd$|[i]nit$|[c]ontainerd( |$)|[d]ockerd|[c]rio( |$)|[f]irewalld|[n]ode-cache|[m]achined'
process_list() {
  if [ "$hidden" = yes ]; then root ps -ef; else ps -ef; fi | {
    IFS= read -r header
    printf '%s\n' "$header"
    grep -E "^ *([^ ]+ +)?1 |$components|$hosts" | grep -v '[c]ontainerd-shim'
  }
}

# Hexadecimal, so that no argument can pass for something else.
argument_vectors() {
  for file in $(grep -l -a -s -E "$components" /proc/[0-9]*/cmdline); do
    pid=${file#/proc/}
    printf '%s %s\n' "${pid%/cmdline}" "$(od -A n -v -t x1 "$file" 2>/dev/null | tr -d ' \n')"
  done
}

processes() {
  hidden=no
  [ -r /proc/1/cmdline ] || hidden=yes
  has ps && part ps-ef.txt process_list
  has od && [ "$hidden" = no ] && part argv.hex argument_vectors
  return 0
}

proxy_config() {
  for file in $(grep -l -s -x kube-proxy /proc/[0-9]*/comm); do
    path=$(tr '\000' '\n' 2>/dev/null <"${file%comm}cmdline" | sed -n -e 's/^--config=//p' -e '/^--config$/{n;p;}')
    case $path in
      /*)
        part kube-proxy-config.conf root cat "${file%/comm}/root$path"
        return
        ;;
    esac
  done
}

proxy_log() {
  # shellcheck disable=SC2012
  log=$(ls -td /var/log/containers/kube-proxy-*_kube-system_kube-proxy-*.log /var/log/kube-proxy.log 2>/dev/null | head -n 1)
  if [ -n "$log" ]; then
    part kube-proxy.log root tail -c 262144 "$log"
  elif has journalctl; then
    for unit in kube-proxy k3s k3s-agent snap.microk8s.daemon-kubelite; do
      if [ -e "/etc/systemd/system/$unit.service" ] || [ -e "/lib/systemd/system/$unit.service" ]; then
        part kube-proxy.log root journalctl -u "$unit" -n 2000 -o cat --no-pager
        return
      fi
    done
  fi
}

# Streams one after the other, so that all of the rules have been sent when something after them hangs: what compresses
# keeps back what it has until its input ends. Between them is plain text, where something is asked.
surroundings() {
  part kdiag-node.txt about
  [ "$only" = all ] || return 0
  network
  part sysctls.txt sysctls
  [ ! -r /proc/modules ] || part proc-modules.txt modules
  has iptables && part iptables-version.txt iptables --version
  [ "$asks" = yes ] || both_families
}

both_families() {
  rules iptables /proc/net/ip_tables_names
  rules ip6tables /proc/net/ip6_tables_names
}

asked() {
  printf '\nkdiag:%s:plain\n' "$nonce"
  both_families 3>&1 5>&1
  printf 'kdiag:%s:packed\n' "$nonce"
}

other_rules() {
  nftables
  virtual_servers
  printf 'kdiag:%s:rules\n' "$nonce"
}

essential() {
  surroundings
  [ "$only" != all ] || [ "$asks" = yes ] || other_rules
}

supplement() {
  if [ "$only" = all ]; then
    foreign_tables
    has ss && part ss-ltnuH.txt sockets
    proxy_answers
    proxy_config
    proxy_log
    processes
  fi
  printf 'kdiag:%s:stop\n' "$nonce"
}

pack() {
  case $encoding in
    zstd) zstd -q -c -1 ;;
    gzip) gzip -c -1 ;;
    *) cat ;;
  esac
}

compressed() { { exec 3>&1; "$1"; } | pack; }

# Ends everything that was started here once the other side has gone: its end of standard input is then closed. Until then
# it hands its answers on.
guard() {
  while read -r answer; do echo "$answer"; done
  if [ "$by_sudo" = yes ] && has sudo && has pkill; then
    read -r stat </proc/self/stat
    stat=${stat##*) }
    # shellcheck disable=SC2086
    set -- $stat
    sudo -n -k "$(command -v pkill)" -TERM -s "$4"
  fi
  kill -TERM 0
}

main() {
  uid=$(id -u)
  case $use_sudo,$uid in
    never,* | auto,0) by_sudo=no ;;
    auto,*) if has sudo; then by_sudo=yes; else by_sudo=no; fi ;;
    *) by_sudo=yes ;;
  esac
  [ -n "$nonce" ] || nonce=$(od -A n -N 16 -t x1 /dev/urandom | tr -d ' \n')
  encoding=plain
  for candidate in $encodings; do
    if has "$candidate"; then
      encoding=$candidate
      break
    fi
  done
  for needed in awk dd head sed sha256sum sort tail tee; do has "$needed" || asks=no; done
  { [ "$watch" = yes ] && [ -e /dev/fd ] && [ "$only" = all ]; } || asks=no
  if [ "$watch" = yes ]; then
    exec 9<&0 </dev/null
    {
      guard <&9 2>/dev/null &
      echo "$!"
    } | {
      exec 9<&0 </dev/null
      read -r guardian <&9
      report
      kill "$guardian"
    }
  else
    report
  fi
  exit 0
}

report() {
  printf '\nkdiag:%s:stream:%s\n' "$nonce" "$encoding"
  [ "$only" = check ] || find_tables
  compressed essential
  if [ "$asks" = yes ]; then
    asked
    compressed other_rules
  fi
  compressed supplement
}

main
