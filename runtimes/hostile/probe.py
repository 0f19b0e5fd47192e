#!/usr/bin/python3
# A hostile algorithm: tries what must not work and writes to results/probe.json what did. Each group
# of threats.md S has its list; an entry is [group, what, outcome], outcome "refused" or what it got.
import ctypes, errno, json, os, resource, signal, socket, sys

tried = []
# Files of these names are the algorithm's own in its kind of world.
own = sys.argv[1:]


def attempt(group, name, action):
    """Runs an action that must fail by an OSError."""
    try:
        got = action()
    except (OSError, ValueError, PermissionError) as error:
        tried.append([group, name, "refused", type(error).__name__ + ": " + str(error)[:60]])
    else:
        tried.append([group, name, "DONE", repr(got)[:60]])


# S-2: paths that must not be readable.
READ = """
/etc/shadow /etc/gshadow /etc/sudoers /etc/hostname /etc/hosts /etc/resolv.conf /etc/machine-id
/etc/ssh /etc/ssl/private /etc/crontab /etc/fstab /etc/certs /etc/os-release /etc/environment
/root /root/.ssh /root/.bash_history /home /var /var/log /var/lib /var/run /run /run/cocos
/run/cocos/runner.sock /run/cocos/agent /run/cocos/agent/environment /run/cocos/certs
/run/cocos/evidence /run/cocos/cgroup /run/cocos/log /run/docker.sock /run/dbus /srv /mnt /media
/boot /sys /sys/fs/cgroup /sys/kernel/config/tsm /sys/kernel/security /sys/kernel/debug
/sys/firmware /sys/class/net /sys/devices /cocos/work /cocos/bin /cocos/bin/deno /cocos/agent.js
/cocos/runner.js /cocos/requirements /cocos/cache /cocos/lib /opt/pip /opt/wheels
/tmp/cocos-runtimes-test /tmp/cocos-runtimes-test/work /dev/mem /dev/kmem /dev/port /dev/kmsg
/dev/kvm /dev/tpm0 /dev/tpmrm0 /dev/sev-guest /dev/tdx_guest /dev/vsock /dev/vhost-vsock /dev/vda
/dev/sda /dev/nvme0 /dev/loop0 /dev/loop-control /dev/fuse /dev/net/tun /dev/hpet /dev/rtc0
/dev/input /dev/dri /dev/snd /dev/ttyS0 /dev/console /dev/tty /dev/hwrng /dev/mqueue
/dev/hugepages /dev/uinput /dev/userfaultfd /proc/kcore /proc/kmsg /proc/kpagecount
/proc/kpageflags /proc/slabinfo /proc/timer_list /proc/vmallocinfo /proc/pagetypeinfo
/proc/1/mem /proc/1/root/etc/shadow /proc/1/cwd/root /proc/self/root/root /proc/2/root/var
/proc/sysrq-trigger /initrd /init /lost+found
""".split()


def read(path):
    if os.path.isdir(path):
        got = os.listdir(path)
    else:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            got = os.read(fd, 1)
        finally:
            os.close(fd)
    if not got:
        raise OSError("it is empty")
    return got


for path in [path for path in READ if path not in own]:
    attempt("S-2", "read " + path, lambda: read(path))
data = b""
try:
    data = open("/proc/1/environ", "rb").read()
except OSError:
    pass
# Deno tells its child which descriptors it passed; nothing else is there.
known = {b"DENO_EXTRA_STDIO_FDS", *[os.fsencode(name) for name in os.environ]}
foreign = [word for word in data.split(b"\0") if word and word.split(b"=")[0] not in known]
tried.append(["S-2", "environment of the first process", "refused" if foreign == [] else "DONE", repr(foreign)])
others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
tried.append(["S-2", "see other processes", "refused" if others == [] else "DONE", str(others)])

# S-3: places that must not be writable.
WRITE = """
/x /etc/x /etc/passwd /etc/ld.so.cache /etc/ld.so.preload /usr/x /usr/bin/x /usr/lib/x /usr/local/x
/bin/x /lib/x /opt/x /cocos/x /cocos/algo /cocos/datasets/x /cocos/datasets/data.csv /dev/x
/dev/pts/x /proc/x /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe
/proc/sys/kernel/hostname /proc/sys/kernel/hotplug /proc/sys/kernel/randomize_va_space
/proc/sys/kernel/shmmax /proc/sys/vm/overcommit_memory /proc/sys/vm/drop_caches
/proc/sys/fs/binfmt_misc/register /proc/sys/net/ipv4/ip_forward /proc/sys/user/max_user_namespaces
/proc/sysrq-trigger /proc/irq/default_smp_affinity /proc/bus/x /proc/fs/x /proc/1/mem
/proc/self/uid_map /proc/self/gid_map /proc/self/setgroups
/proc/self/loginuid /sys/x /sys/kernel/uevent_helper /sys/fs/cgroup/x /sys/power/state /run/x
/var/x /root/x /home/x
""".split()


def write(path, data=b"0"):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


for path in WRITE:
    attempt("S-3", "write " + path, lambda: write(path))
attempt("S-3", "remove a dataset", lambda: os.remove("/cocos/datasets/data.csv"))
attempt("S-3", "rename a dataset", lambda: os.rename("/cocos/datasets/data.csv", "/cocos/results/d"))
attempt("S-3", "link a dataset", lambda: os.link("/cocos/datasets/data.csv", "/cocos/results/d"))
attempt("S-3", "change a dataset's mode", lambda: os.chmod("/cocos/datasets/data.csv", 0o777))
attempt("S-3", "make a device", lambda: os.mknod("/cocos/results/dev", 0o600 | 0o020000, os.makedev(1, 1)))
attempt("S-3", "give a file to root", lambda: os.chown("/cocos/results", 0, 0))
for pid in ("self", "1"):
    attempt("S-4", "spare process " + pid + " when memory ends", lambda: write("/proc/" + pid + "/oom_score_adj", b"-1"))
attempt("S-4", "raise its niceness", lambda: os.nice(-5))
attempt("S-4", "raise a hard limit", lambda: resource.setrlimit(
    resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)))

# S-1: the network.
FAMILIES = {
    "AF_INET stream": (2, 1, 0), "AF_INET datagram": (2, 2, 0), "AF_INET raw": (2, 3, 1),
    "AF_INET ping": (2, 2, 1), "AF_INET multipath": (2, 1, 262), "AF_INET sctp": (2, 5, 132),
    "AF_INET6 stream": (10, 1, 0), "AF_INET6 raw": (10, 3, 58), "AF_NETLINK route": (16, 3, 0),
    "AF_NETLINK audit": (16, 3, 9), "AF_NETLINK uevent": (16, 3, 15), "AF_PACKET": (17, 3, 768),
    "AF_VSOCK": (40, 1, 0), "AF_ALG": (38, 5, 0), "AF_BLUETOOTH": (31, 3, 1), "AF_CAN": (29, 3, 1),
    "AF_TIPC": (30, 1, 0), "AF_KEY": (15, 3, 2), "AF_RDS": (21, 5, 0), "AF_KCM": (41, 5, 0),
    "AF_SMC": (43, 1, 0), "AF_XDP": (44, 3, 0), "AF_QIPCRTR": (42, 2, 0), "AF_X25": (9, 5, 0),
    "AF_AX25": (3, 2, 0), "AF_PPPOX": (24, 2, 0), "AF_NFC": (39, 5, 0), "AF_MCTP": (45, 2, 0),
}
for name, arguments in FAMILIES.items():
    attempt("S-1", "socket " + name, lambda: socket.socket(*arguments))


def connect_unix(address):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)


for address in ("/run/cocos/runner.sock", "/tmp/cocos-runtimes-test/runner.sock", "/run/docker.sock",
                "/run/systemd/notify", "/run/dbus/system_bus_socket", "\0/tmp/.X11-unix/X0", "\0cocos"):
    attempt("S-1", "connect to the socket " + repr(address), lambda: connect_unix(address))
for host in ("169.254.169.254", "127.0.0.1", "10.0.2.2", "1.1.1.1", "::1", "fd00::1"):
    attempt("S-1", "connect to " + host, lambda: socket.create_connection((host, 7002), 1))
attempt("S-1", "look up a name", lambda: socket.getaddrinfo("example.org", 80))

# S-7: system calls, by number, with arguments that do no harm if they are let through.
CALLS = {
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "pidfd_getfd": 438,
    "process_madvise": 440, "process_mrelease": 448, "mount": 165, "umount2": 166, "pivot_root": 155,
    "chroot": 161, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "fspick": 433, "mount_setattr": 442, "statmount": 457, "listmount": 458, "unshare": 272,
    "setns": 308, "clone3": 435, "swapon": 167, "swapoff": 168, "reboot": 169, "kexec_load": 246,
    "kexec_file_load": 320, "init_module": 175, "finit_module": 313, "delete_module": 176,
    "create_module": 174, "query_module": 178, "get_kernel_syms": 177, "bpf": 321,
    "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427, "io_setup": 206, "io_submit": 209, "io_destroy": 207, "keyctl": 250,
    "add_key": 248, "request_key": 249, "seccomp": 317, "landlock_create_ruleset": 444,
    "landlock_restrict_self": 446, "name_to_handle_at": 303, "open_by_handle_at": 304,
    "fanotify_init": 300, "fanotify_mark": 301, "quotactl": 179, "quotactl_fd": 443, "acct": 163,
    "settimeofday": 164, "clock_settime": 227, "clock_adjtime": 305, "adjtimex": 159,
    "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173, "modify_ldt": 154,
    "vhangup": 153, "syslog": 103, "uselib": 134, "ustat": 136, "sysfs": 139, "_sysctl": 156,
    "nfsservctl": 180, "getpmsg": 181, "putpmsg": 182, "afs_syscall": 183, "tuxcall": 184,
    "security": 185, "lookup_dcookie": 212, "epoll_ctl_old": 214, "epoll_wait_old": 215,
    "remap_file_pages": 216, "mbind": 237, "set_mempolicy": 238, "migrate_pages": 256,
    "move_pages": 279, "set_mempolicy_home_node": 450, "vserver": 236, "vmsplice": 278,
    "memfd_secret": 447, "capset": 126, "sync": 162, "syncfs": 306, "io_pgetevents": 333,
    "io_cancel": 210, "io_getevents": 208, "set_thread_area": 205, "get_thread_area": 211,
    "lsm_set_self_attr": 460, "lsm_get_self_attr": 459, "open_tree_attr": 467, "unknown 600": 600,
}
libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    ctypes.set_errno(0)
    got = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(value) for value in arguments])
    code = ctypes.get_errno()
    # Another error would mean that the kernel looked at the arguments.
    if got == -1 and code in (errno.EPERM, errno.ENOSYS):
        raise OSError(code, os.strerror(code))
    return (got, errno.errorcode.get(code, code))


for name, number in CALLS.items():
    attempt("S-7", "call " + name, lambda: call(number, -1, 0, 0, 0, 0, 0))
NEW = {"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x8000000,
       "uts": 0x4000000, "cgroup": 0x2000000}
for name, flag in NEW.items():
    attempt("S-7", "clone into a new " + name + " namespace", lambda: call(56, flag | signal.SIGCHLD, 0, 0, 0, 0))
attempt("S-7", "prctl PR_SET_SECCOMP", lambda: call(157, 22, 1, 0, 0, 0))
attempt("S-7", "prctl PR_SET_MM", lambda: call(157, 35, 1, 0, 0, 0))
attempt("S-7", "prctl PR_CAP_AMBIENT raise", lambda: call(157, 47, 2, 0, 0, 0))
attempt("S-7", "prctl PR_SET_PTRACER", lambda: call(157, 0x59616d61, -1, 0, 0, 0))
attempt("S-7", "prctl PR_TASK_PERF_EVENTS_ENABLE", lambda: call(157, 32, 0, 0, 0, 0))
attempt("S-7", "personality without randomness", lambda: call(135, 0x0040000))
attempt("S-7", "ioctl TIOCSTI", lambda: call(16, 0, 0x5412, 0))
attempt("S-7", "ioctl TIOCLINUX", lambda: call(16, 0, 0x541c, 0))
attempt("S-11", "become root", lambda: os.setuid(0))
attempt("S-11", "take root's group", lambda: os.setgid(0))
attempt("S-11", "set groups", lambda: os.setgroups([0, 2000]))
attempt("S-7", "signal the first process", lambda: (os.kill(1, signal.SIGSTOP), open("/proc/1/stat").read().split()[2] != "T" and (_ for _ in ()).throw(OSError("it is not stopped")))[0])

json.dump(tried, open("/cocos/results/probe.json", "w"))
done = [entry for entry in tried if entry[2] != "refused"]
print(len(tried), "tried,", len(done), "done")
sys.exit(0 if done == [] else 1)
