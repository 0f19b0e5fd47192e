# shellcheck shell=dash
# What /init and the start scripts share. Everything read here comes from the host and is only a
# hint: it can be refused, it is never evaluated, and it never enters a process environment.

# The settings the agent takes from the host (it parses each by type and range itself). Where the
# front door listens is not among them: the image's permissions say it.
SETTINGS="AGENT_CERTS_TOKEN AGENT_CVM_CA_URL AGENT_CVM_GRPC_CLIENT_CERT AGENT_CVM_GRPC_CLIENT_KEY
AGENT_CVM_GRPC_SERVER_CA_CERTS AGENT_CVM_GRPC_TIMEOUT AGENT_CVM_GRPC_URL AGENT_CVM_ID
AGENT_LOG_LEVEL AGENT_MAA_URL AGENT_MAX_UPLOAD_BYTES AGENT_OS_BUILD AGENT_OS_DISTRO AGENT_OS_TYPE
AGENT_VMPL"
MAX_SHARED_BYTES=65536
MAX_SETTING_LENGTH=4096
ENVIRONMENT=/run/cocos/agent/environment

# A line on the console, where there is one.
say() {
  read -r up _ </proc/uptime
  echo "cocos: [$up] $*" >&2 || true
}

# The guest can't do its work: the reason on the console, and no half-started machine.
die() {
  say "cannot start: $*"
  /usr/bin/busybox poweroff -f
  exit 1
}

install_folder() { # path mode user group
  mkdir -p "$1"
  chown "$3:$4" "$1"
  chmod "$2" "$1"
}

set_kernel() { # name value
  if [ -e "/proc/sys/$1" ]; then
    echo "$2" >"/proc/sys/$1" || say "could not set $1"
  fi
}

load_modules() { # list
  while read -r module; do
    insmod "/usr/lib/modules/$module" || say "could not load $module"
  done <"/usr/lib/modules/$1"
}

# A word of the measured kernel command line.
told() { # word
  case " $(cat /proc/cmdline) " in
  *" $1 "*) return 0 ;;
  *) return 1 ;;
  esac
}

# How the agent speaks to parties: strict, unless the measured command line says otherwise. Nothing the
# host's folders hold decides it.
mode_flag() {
  if told cocos.mode=compat; then echo --compat; fi
}

# Deno refuses /dev and /sys to the agent; what it needs for evidence is bound where it may read.
bind_evidence() {
  if [ -c /dev/tpmrm0 ]; then
    chown root:agent /dev/tpmrm0
    chmod 0660 /dev/tpmrm0
    : >/run/cocos/evidence/tpmrm0
    mount --bind /dev/tpmrm0 /run/cocos/evidence/tpmrm0
  fi
  if [ -d /sys/kernel/config ]; then
    mount -t configfs -o nosuid,nodev,noexec configfs /sys/kernel/config || true
  fi
  if [ -d /sys/kernel/config/tsm/report ]; then
    chown agent:agent /sys/kernel/config/tsm/report
    mkdir /run/cocos/evidence/tsm
    mount --bind /sys/kernel/config/tsm/report /run/cocos/evidence/tsm
  fi
  mount -t securityfs -o nosuid,nodev,noexec securityfs /sys/kernel/security || true
  bind_list /sys/kernel/security/integrity/ima/ascii_runtime_measurements ima
  bind_list /sys/kernel/security/tpm0/binary_bios_measurements events
}

bind_list() { # list name
  [ -e "$1" ] || return 0
  chgrp agent "$1"
  : >"/run/cocos/evidence/$2"
  mount --bind "$1" "/run/cocos/evidence/$2"
}

# One network card, by DHCP, or with the addresses of QEMU's user network.
start_network() {
  cards=0
  card=
  for path in /sys/class/net/*; do
    name=${path##*/}
    [ "$name" != lo ] || continue
    cards=$((cards + 1))
    card=$name
  done
  [ "$cards" -eq 1 ] || die "expected one network card, there are $cards"
  ifconfig lo 127.0.0.1 up
  ifconfig "$card" up
  if ! udhcpc -i "$card" -n -q -f -t 4 -T 1 -s /cocos/lib/dhcp >/dev/null 2>&1; then
    say "no DHCP answer: using 10.0.2.15"
    set_address "$card" 10.0.2.15 255.255.255.0 10.0.2.2 10.0.2.3
  fi
}

set_address() { # card address mask gateway nameserver
  ifconfig "$1" "$2" netmask "$3" up
  if is_ipv4 "$4"; then ip route replace default via "$4"; fi
  if is_ipv4 "$5"; then echo "nameserver $5" >/run/cocos/resolv.conf; fi
}

# Four decimal numbers without leading zeros, each at most 255.
is_ipv4() { # text
  case $1 in
  '' | *[!0-9.]* | *.*.*.*.* | .* | *. | *..*) return 1 ;;
  *.*.*.*) ;;
  *) return 1 ;;
  esac
  rest=$1.
  while [ -n "$rest" ]; do
    part=${rest%%.*}
    rest=${rest#*.}
    case $part in
    0 | [1-9] | [1-9][0-9] | 1[0-9][0-9] | 2[0-4][0-9] | 25[0-5]) ;;
    *) return 1 ;;
    esac
  done
}

# Copies a regular file of bounded size: the opened file, not the name, is what is checked, so the
# host can't swap a link in between.
take() { # from to
  [ -f "$1" ] && [ ! -L "$1" ] || return 1
  # shellcheck disable=SC2094 # the name is compared as text
  {
    [ -f /proc/self/fd/3 ] && [ "$(readlink /proc/self/fd/3)" = "$1" ] &&
      head -c $((MAX_SHARED_BYTES + 1)) <&3 >"$2"
  } 3<"$1" || return 1
  if [ "$(stat -c %s "$2")" -gt "$MAX_SHARED_BYTES" ]; then
    rm -f "$2"
    return 1
  fi
}

# The lines of a file whose key is in SETTINGS. A file with anything but printable ASCII, with a
# setting twice, or with an overlong line is refused as a whole; other keys are left out.
allowed_settings() { # file
  [ "$(LC_ALL=C tr -d '\n -~' <"$1" | wc -c)" -eq 0 ] || return 1
  seen=" "
  list=" $(echo "$SETTINGS" | tr '\n' ' ') "
  while IFS= read -r line || [ -n "$line" ]; do
    key=${line%%=*}
    case $key in
    '' | "$line" | *[!A-Z_]*) continue ;;
    esac
    case $list in
    *" $key "*) ;;
    *) continue ;;
    esac
    case $seen in
    *" $key "*) return 1 ;;
    esac
    [ "${#line}" -le "$MAX_SETTING_LENGTH" ] || return 1
    seen="$seen$key "
    printf '%s\n' "$line"
  done <"$1"
}

mount_share() { # tag folder
  mkdir -p "$2"
  mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro,nosuid,nodev,noexec "$1" "$2" \
    2>/dev/null
}

# Reads the host's two folders once and lets go of them.
take_shares() {
  : >"$ENVIRONMENT"
  if mount_share env_share /run/cocos/share; then
    if take /run/cocos/share/environment /run/cocos/share.copy; then
      allowed_settings /run/cocos/share.copy >"$ENVIRONMENT" || {
        : >"$ENVIRONMENT"
        say "environment file refused: not one line of printable text for each setting"
      }
      rm -f /run/cocos/share.copy
    else
      say "environment file refused: not a regular file of at most $MAX_SHARED_BYTES bytes"
    fi
    umount /run/cocos/share
  else
    say "no environment share"
  fi
  if mount_share certs_share /run/cocos/share; then
    for name in cert.pem key.pem ca.pem; do
      [ -e "/run/cocos/share/$name" ] || [ -L "/run/cocos/share/$name" ] || continue
      take "/run/cocos/share/$name" "/run/cocos/certs/$name" || say "$name refused"
    done
    umount /run/cocos/share
  fi
  rmdir /run/cocos/share
  for file in "$ENVIRONMENT" /run/cocos/certs/*; do
    [ -f "$file" ] || continue
    chown root:agent "$file"
    chmod 0440 "$file"
  done
}

# Value of a setting from the filtered file.
setting() { # name
  sed -n "s/^$1=//p" "$ENVIRONMENT"
}

# HOST:PORT of a server as the list for --allow-net: the name and each address it has now. Letters,
# digits, dots, dashes and one colon only: a comma would widen the grant. Loopback, link-local and
# multicast addresses are never the server.
net_grant() { # host:port
  case $1 in
  '' | *[!A-Za-z0-9.:-]* | *:*:* | :* | *: | -* | .*) return 1 ;;
  *:*) ;;
  *) return 1 ;;
  esac
  host=${1%:*}
  port=${1#*:}
  case $port in
  *[!0-9]* | 0* | ??????*) return 1 ;;
  esac
  [ "$port" -le 65535 ] && [ "${#host}" -le 253 ] || return 1
  # A last label that begins with a digit is an address in some notation: only the plain one counts.
  case ${host##*.} in
  [0-9]*)
    is_server "$host" || return 1
    echo "$host:$port"
    return 0
    ;;
  '' | *[!A-Za-z0-9-]*) return 1 ;;
  esac
  grant=$host
  for address in $(addresses_of "$host"); do
    if is_server "$address"; then grant="$grant,$address:$port"; fi
  done
  [ "$grant" != "$host" ] || return 1
  echo "$grant"
}

is_server() { # address
  is_ipv4 "$1" || return 1
  case $1 in
  0.* | 127.* | 169.254.* | 22[4-9].* | 23[0-9].* | 24[0-9].* | 25[0-5].*) return 1 ;;
  esac
}

addresses_of() { # name
  timeout 5 nslookup "$1" 2>/dev/null | awk '/^Name:/ { on = 1 } on && /^Address/ { print $NF }'
}

# The permission flags the image was built with, the server's grant added to the network's list.
flags_of() { # program grant
  while IFS= read -r flag; do
    case $flag in
    --allow-net=*) echo "$flag${2:+,$2}" ;;
    *) echo "$flag" ;;
    esac
  done <"/cocos/lib/$1.flags"
}
