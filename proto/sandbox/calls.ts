// Which system calls a program in the sandbox may make, as data: the runner makes its filter of it, and
// `cocos run explain` prints it. x86_64; what no list names is refused.

/** Calls that are allowed whatever their arguments. */
export const ALLOWED = `
  read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction
  rt_sigprocmask rt_sigreturn pread64 pwrite64 readv writev access pipe select sched_yield mremap
  msync mincore madvise dup dup2 pause nanosleep getitimer alarm setitimer getpid sendfile exit
  wait4 kill uname fcntl flock fsync fdatasync truncate ftruncate getdents getcwd chdir fchdir
  rename mkdir rmdir creat link unlink symlink readlink chmod fchmod chown fchown lchown umask
  gettimeofday getrlimit getrusage sysinfo times getuid getgid setuid setgid geteuid getegid
  setpgid getppid getpgrp setsid setreuid setregid getgroups setgroups setresuid getresuid
  setresgid getresgid getpgid setfsuid setfsgid getsid capget rt_sigpending rt_sigtimedwait
  rt_sigqueueinfo rt_sigsuspend sigaltstack utime mknod statfs fstatfs getpriority setpriority
  sched_setparam sched_getparam sched_setscheduler sched_getscheduler sched_get_priority_max
  sched_get_priority_min sched_rr_get_interval mlock munlock mlockall munlockall arch_prctl
  setrlimit gettid readahead getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
  setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr tkill time futex
  sched_setaffinity sched_getaffinity epoll_create getdents64 set_tid_address restart_syscall
  fadvise64 timer_create timer_settime timer_gettime timer_getoverrun timer_delete clock_gettime
  clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill utimes get_mempolicy waitid
  ioprio_set ioprio_get inotify_init inotify_add_watch inotify_rm_watch openat mkdirat mknodat
  fchownat futimesat newfstatat unlinkat renameat linkat symlinkat readlinkat fchmodat faccessat
  pselect6 ppoll set_robust_list get_robust_list splice tee sync_file_range utimensat epoll_pwait
  signalfd timerfd_create eventfd fallocate timerfd_settime timerfd_gettime signalfd4 eventfd2
  epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev rt_tgsigqueueinfo prlimit64 getcpu
  sched_setattr sched_getattr renameat2 getrandom memfd_create execve execveat membarrier mlock2
  copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx rseq fork vfork
  pidfd_send_signal pidfd_open close_range openat2 faccessat2 epoll_pwait2 futex_waitv cachestat
  fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue mseal
  shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl
  mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
  connect accept accept4 bind listen sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown
  getsockname getpeername setsockopt getsockopt
`.trim().split(/\s+/);

/** A test of the low 32 bits of one argument; the kernel ignores the high half of all of these. */
export type Condition =
  | { readonly argument: number; readonly among: readonly number[] }
  | { readonly argument: number; readonly notAmong: readonly number[] }
  | { readonly argument: number; readonly noBitOf: number };

/** Every CLONE_NEW* flag: time, ns, cgroup, uts, ipc, user, pid, net. */
const CLONE_NEW = 0x80 | 0x2_0000 | 0x200_0000 | 0x400_0000 | 0x800_0000 | 0x1000_0000 |
  0x2000_0000 | 0x4000_0000;

const AF_UNIX = 1;

/** Calls that are allowed with some arguments only; with others they fail with EPERM. */
export const CONDITIONAL: Readonly<Record<string, Condition>> = {
  // No namespace of its own, so no capability over anything (S-7).
  clone: { argument: 0, noBitOf: CLONE_NEW },
  // Own network namespace or not: vsock, netlink, packet and crypto sockets never exist (S-1).
  socket: { argument: 0, among: [AF_UNIX] },
  socketpair: { argument: 0, among: [AF_UNIX] },
  // The default personality and the question which one it is; not "addresses without randomness".
  personality: { argument: 0, among: [0, 0xffff_ffff] },
  // TIOCSTI, TIOCLINUX, TIOCCONS: typing into, pasting into and taking over a terminal.
  ioctl: { argument: 1, notAmong: [0x5412, 0x541c, 0x541d] },
  // Names, death signals, subreaper, no_new_privs, timer slack, huge pages, speculation, named
  // mappings, and reading capabilities; neither seccomp nor the memory map can be set.
  prctl: {
    argument: 0,
    among: [1, 2, 3, 4, 15, 16, 21, 23, 25, 29, 30, 36, 37, 38, 39, 40, 41, 42, 52, 0x53564d41],
  },
};

/** Calls that fail as if the kernel were older, so that libc takes its other way. */
export const ABSENT = ["clone3"];
