import assert from "node:assert/strict";
import { decode, interpret } from "./_interpret.ts";
import { ABSENT, ALLOWED, CONDITIONAL } from "../../proto/sandbox/mod.ts";
import { Action, ARCHITECTURE, seccompInstructions, seccompProgram, X32_BIT } from "./seccomp.ts";
import { LAST_KNOWN, syscallNumber, SYSCALLS } from "./syscalls.ts";

const EPERM = Action.fail(1);
const ENOSYS = Action.fail(38);

/** Argument values worth trying: around every value and bit that a condition names. */
const VALUES = [
  ...new Set([
    0n,
    0xffff_ffffn,
    0xffff_ffff_ffff_ffffn,
    ...Object.values(CONDITIONAL).flatMap((condition) =>
      ("among" in condition
        ? condition.among
        : "notAmong" in condition
        ? condition.notAmong
        : Array.from({ length: 32 }, (_, bit) => 2 ** bit))
        .flatMap((value) => [BigInt(value), BigInt(value) + 1n, BigInt(value) | (1n << 40n)])
    ),
  ]),
];

/** The policy said again, without a decision tree. */
function expected(name: string | undefined, number: number, args: readonly bigint[]): number {
  if (name === undefined) return number > LAST_KNOWN ? ENOSYS : EPERM;
  if (ABSENT.includes(name)) return ENOSYS;
  const condition = CONDITIONAL[name];
  if (condition === undefined) return ALLOWED.includes(name) ? Action.ALLOW : EPERM;
  const low = Number((args[condition.argument] ?? 0n) & 0xffff_ffffn);
  const passes = "among" in condition
    ? condition.among.includes(low)
    : "notAmong" in condition
    ? !condition.notAmong.includes(low)
    : (low & condition.noBitOf) === 0;
  return passes ? Action.ALLOW : EPERM;
}

const NAMES = new Map([...SYSCALLS].map(([name, number]) => [number, name]));

Deno.test("seccompProgram() S-7 answers every call and argument as the policy says", () => {
  const program = decode(seccompProgram());
  for (let number = 0; number < LAST_KNOWN + 100; number++) {
    const name = NAMES.get(number);
    const at = CONDITIONAL[name ?? ""]?.argument ?? 0;
    for (const value of VALUES) {
      const args = Array.from({ length: 6 }, (_, index) => index === at ? value : 0n);
      assert.equal(
        interpret(program, { number, architecture: ARCHITECTURE, args }),
        expected(name, number, args),
        `${name ?? number}(${args})`,
      );
    }
  }
});

Deno.test("seccompProgram() kills calls of other ABIs", () => {
  const program = seccompInstructions();
  const kill = (number: number, architecture: number) =>
    assert.equal(interpret(program, { number, architecture, args: [] }), Action.KILL_PROCESS);
  // AUDIT_ARCH_I386, AARCH64, none: also for the numbers of allowed calls.
  for (const architecture of [0x4000_0003, 0xc000_00b7, 0]) {
    for (const number of [0, 1, 3, 59]) kill(number, architecture);
  }
  for (const number of [X32_BIT, X32_BIT | 1, X32_BIT | 59, 0xffff_ffff]) {
    kill(number, ARCHITECTURE);
  }
});

Deno.test("ALLOWED S-7 has none of the calls that reach into the kernel or other processes", () => {
  const never = `
    ptrace process_vm_readv process_vm_writev process_madvise process_mrelease pidfd_getfd kcmp
    mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick
    mount_setattr statmount listmount open_tree_attr unshare setns clone3 swapon swapoff reboot
    kexec_load kexec_file_load init_module finit_module delete_module create_module bpf
    perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register io_setup io_submit
    keyctl add_key request_key seccomp landlock_create_ruleset name_to_handle_at
    open_by_handle_at fanotify_init fanotify_mark quotactl quotactl_fd acct settimeofday
    clock_settime clock_adjtime adjtimex sethostname setdomainname iopl ioperm modify_ldt vhangup
    syslog uselib ustat sysfs _sysctl nfsservctl lookup_dcookie move_pages migrate_pages mbind
    set_mempolicy remap_file_pages vmsplice memfd_secret capset sync syncfs lsm_set_self_attr
  `.trim().split(/\s+/);
  for (const name of never) {
    syscallNumber(name);
    assert.ok(!ALLOWED.includes(name) && !(name in CONDITIONAL), name);
  }
  assert.equal(new Set(ALLOWED).size, ALLOWED.length);
});

Deno.test("syscallNumber() agrees with the kernel's header where there is one", async () => {
  assert.throws(() => syscallNumber("frobnicate"), /frobnicate is unknown/);
  assert.deepEqual(
    ["read", "execve", "rseq", "pidfd_send_signal", "clone3", "statmount"].map(syscallNumber),
    [0, 59, 334, 424, 435, 457],
  );
  let header: string;
  try {
    header = await Deno.readTextFile("/usr/include/x86_64-linux-gnu/asm/unistd_64.h");
  } catch {
    return console.log("skipped: no unistd_64.h here (Debian package linux-libc-dev)");
  }
  for (const [, name, number] of header.matchAll(/^#define __NR_(\w+) (\d+)$/gm)) {
    assert.equal(SYSCALLS.get(name as string) ?? `no ${name}`, Number(number));
  }
});

/** Builds the same policy with libseccomp and prints its BPF; the library judges our encoder. */
const ORACLE = `
import ctypes, json, os, sys
lib = ctypes.CDLL("libseccomp.so.2")
class Cmp(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]
lib.seccomp_init.restype = ctypes.c_void_p
MASKED = 7
policy = json.load(sys.stdin)
ctx = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(policy["refuse"])))
def add(action, number, *tests):
    array = (Cmp * max(1, len(tests)))(*tests)
    code = lib.seccomp_rule_add_array(ctx, ctypes.c_uint32(action), number, len(tests), array)
    if code != 0: sys.exit("rule %d: %d" % (number, code))
for number in policy["allowed"]: add(policy["allow"], number)
for number in policy["absent"]: add(policy["missing"], number)
for c in policy["conditions"]:
    low = 0xffffffff
    if "among" in c:
        for value in c["among"]: add(policy["allow"], c["number"], Cmp(c["argument"], MASKED, low, value))
    elif "notAmong" in c:
        pass
    else:
        add(policy["allow"], c["number"], Cmp(c["argument"], MASKED, c["noBitOf"], 0))
if lib.seccomp_export_bpf(ctx, 1) != 0: sys.exit("export")
`;

Deno.test("seccompProgram() agrees with libseccomp's program for the same policy", async () => {
  const input = JSON.stringify({
    refuse: EPERM,
    allow: Action.ALLOW,
    missing: ENOSYS,
    allowed: ALLOWED.map(syscallNumber),
    absent: ABSENT.map(syscallNumber),
    conditions: Object.entries(CONDITIONAL).map(([name, condition]) => ({
      number: syscallNumber(name),
      ...condition,
    })),
  });
  let output: Deno.CommandOutput;
  try {
    const child = new Deno.Command("/usr/bin/python3", {
      args: ["-c", ORACLE],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(input));
    await writer.close();
    output = await child.output();
  } catch {
    return console.log("skipped: no /usr/bin/python3 to ask libseccomp with");
  }
  const complaint = new TextDecoder().decode(output.stderr);
  if (complaint.includes("libseccomp.so.2: cannot open")) {
    return console.log("skipped: no libseccomp.so.2 here (Debian package libseccomp2)");
  }
  assert.ok(output.success, complaint);
  const [ours, theirs] = [seccompInstructions(), decode(output.stdout)];
  for (let number = 0; number <= LAST_KNOWN; number++) {
    const name = NAMES.get(number) ?? "";
    const condition = CONDITIONAL[name];
    // "Any value but these" can't be said exactly with libseccomp's masked comparisons.
    if (condition !== undefined && "notAmong" in condition) continue;
    for (const value of condition === undefined ? [0n, 7n] : VALUES) {
      const args: bigint[] = [0n, 0n, 0n, 0n, 0n, 0n];
      args[condition?.argument ?? 0] = value;
      const call = { number, architecture: ARCHITECTURE, args };
      assert.equal(interpret(theirs, call), interpret(ours, call), `${name} ${number}(${args})`);
    }
  }
});
