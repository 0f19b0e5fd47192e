// Which system calls an algorithm may make: an allow-list for x86_64. What isn't named is refused.
import { Data, decide, encodeProgram, type Instruction, Op, op, type Range } from "./bpf.ts";
import { LAST_KNOWN, syscallNumber } from "./syscalls.ts";

/** What happens to a call (SECCOMP_RET_*). */
export const Action = {
  ALLOW: 0x7fff_0000,
  KILL_PROCESS: 0x8000_0000,
  /** The call fails with this errno. */
  fail: (errno: number): number => 0x0005_0000 | errno,
} as const;

const EPERM = 1;
const ENOSYS = 38;

/** AUDIT_ARCH_X86_64; a call through the 32-bit gate has another value here. */
export const ARCHITECTURE = 0xc000_003e;
/** Set in the number of a call of the x32 ABI. */
export const X32_BIT = 0x4000_0000;

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

/** Action for a call that no list names: refused, or unknown to this table and so "not there". */
function otherwise(number: number): number {
  return Action.fail(number > LAST_KNOWN ? ENOSYS : EPERM);
}

function verdict(action: number): Instruction[] {
  return [op(Op.RETURN, action)];
}

function conditionBody(condition: Condition): Instruction[] {
  const load = op(Op.LOAD, Data.argument(condition.argument));
  const allow = op(Op.RETURN, Action.ALLOW);
  const refuse = op(Op.RETURN, Action.fail(EPERM));
  if ("noBitOf" in condition) {
    return [load, op(Op.AND, condition.noBitOf), op(Op.EQUAL, 0, 0, 1), allow, refuse];
  }
  const values = "among" in condition ? condition.among : condition.notAmong;
  const [hit, miss] = "among" in condition ? [allow, refuse] : [refuse, allow];
  // Each compare jumps over the ones left and over the miss.
  const compares = values.map((value, index) => op(Op.EQUAL, value, values.length - index, 0));
  return [load, ...compares, miss, hit];
}

/** The whole program. */
export function seccompInstructions(): Instruction[] {
  const bodies = new Map<number, Instruction[]>();
  for (const name of ALLOWED) bodies.set(syscallNumber(name), verdict(Action.ALLOW));
  for (const name of ABSENT) bodies.set(syscallNumber(name), verdict(Action.fail(ENOSYS)));
  for (const [name, condition] of Object.entries(CONDITIONAL)) {
    bodies.set(syscallNumber(name), conditionBody(condition));
  }
  const ranges: Range[] = [];
  let last = "";
  for (let number = 0; number <= LAST_KNOWN + 1; number++) {
    const body = bodies.get(number) ?? verdict(otherwise(number));
    const text = JSON.stringify(body);
    if (text !== last) ranges.push({ from: number, body });
    last = text;
  }
  return [
    op(Op.LOAD, Data.ARCHITECTURE),
    op(Op.EQUAL, ARCHITECTURE, 1, 0),
    op(Op.RETURN, Action.KILL_PROCESS),
    op(Op.LOAD, Data.NUMBER),
    op(Op.AT_LEAST, X32_BIT, 0, 1),
    op(Op.RETURN, Action.KILL_PROCESS),
    ...decide(ranges),
  ];
}

/** The program's bytes, for bubblewrap's `--seccomp`. */
export function seccompProgram(): Uint8Array {
  return encodeProgram(seccompInstructions());
}
