// Before the socket opens: does the sandbox really hold on this machine? One that lacks a primitive
// is a refusal that names it, never a weaker sandbox (threats S-19).
import { CocosError, messageOf } from "../base/mod.ts";
import type { Limits } from "../proto/runner/mod.ts";
import { type Groups, SandboxProcess } from "./sandbox/mod.ts";

/** Name of the group the test runs in; swept like any job's. */
const TEST_JOB = "job-0000000000000000";

/** Time the probe may take; an emulated machine needs most of a second. */
const PROBE_MS = 30_000;

/** Only words of the shell itself, so that any image with a `sh` can be tested. */
const PROBE = `
while read -r line; do echo "$line"; done < /proc/self/status
while read -r line; do echo "limit:$line"; done < /proc/self/limits
while read -r line; do echo "net:$line"; done < /proc/net/dev
for fd in /proc/self/fd/*; do if [ -e "$fd" ]; then echo "fd:\${fd##*/}"; fi; done
if (: > /proc/sys/kernel/core_pattern) 2>/dev/null; then echo "core_pattern:writable"; fi
if (: > /usr/cocos-probe) 2>/dev/null; then echo "usr:writable"; fi
echo done
`;

/** What a shell that opens nothing else has, its script's redirections included. */
const OWN_FDS = [0, 1, 2];

/** What the test found. */
export interface SelfTest {
  /** Descriptors the runner inherited and must hide from every program. */
  readonly leaked: number[];
}

/** Runs the probe with one set of hidden descriptors and answers its lines. */
async function probe(
  bwrap: string,
  groups: Groups,
  limits: Limits,
  leaked: readonly number[],
): Promise<string[]> {
  const group = groups.create(TEST_JOB, limits);
  let output = "";
  try {
    const process = new SandboxProcess({
      program: "/bin/sh",
      args: ["-c", PROBE],
      binds: [],
      cwd: "/cocos",
      tmpBytes: 1 << 20,
    }, {
      bwrap,
      group,
      leaked,
      onOutput: (_stream, bytes) => {
        output += new TextDecoder().decode(bytes);
        return "go-on";
      },
    });
    const timer = setTimeout(() => process.kill(), PROBE_MS);
    const released = await process.released.catch((error: unknown) => missing(messageOf(error)));
    const ending = await process.ended;
    clearTimeout(timer);
    if (released instanceof CocosError) throw released;
    if (ending.kind === "not-started") throw missing(ending.reason);
  } finally {
    group.remove();
  }
  return output.split("\n");
}

function missing(reason: string): CocosError {
  return new CocosError("unavailable", `Cannot run algorithms here: ${reason}`, {
    hint: "The sandbox needs bubblewrap 0.8 or newer, user namespaces for this user, and a shell.",
  });
}

/**
 * Starts a sandbox and looks at it from within.
 *
 * @throws {CocosError} `unavailable` that names the primitive that is missing.
 */
export async function selfTest(bwrap: string, groups: Groups, limits: Limits): Promise<SelfTest> {
  let lines: string[];
  try {
    lines = await probe(bwrap, groups, limits, []);
  } catch (error) {
    if (error instanceof CocosError) throw error;
    throw missing(messageOf(error));
  }
  checkProbe(lines);
  const leaked = descriptors(lines);
  if (leaked.length === 0) return { leaked };
  await probe(bwrap, groups, limits, leaked);
  return { leaked };
}

function descriptors(lines: readonly string[]): number[] {
  return lines
    .filter((line) => line.startsWith("fd:"))
    .map((line) => Number(line.slice(3)))
    .filter((fd) => !OWN_FDS.includes(fd));
}

/**
 * Every property the sandbox promises, as the kernel tells it to the probe.
 *
 * @throws {CocosError} `unavailable` that names the first that doesn't hold.
 */
export function checkProbe(lines: readonly string[]): void {
  const status = (name: string): string =>
    lines.find((line) => line.startsWith(`${name}:`))?.slice(name.length + 1).trim() ?? "absent";
  const expect = (what: string, actual: string, pattern: RegExp) => {
    if (!pattern.test(actual)) throw missing(`${what} (found: ${JSON.stringify(actual)})`);
  };
  expect("the probe did not finish", lines.at(-2) ?? "", /^done$/);
  expect("no seccomp filter", status("Seccomp"), /^2$/);
  expect("privileges can be gained", status("NoNewPrivs"), /^1$/);
  expect("capabilities are left", status("CapEff"), /^0+$/);
  expect("capabilities can be gained", status("CapBnd"), /^0+$/);
  // bubblewrap is the first process of the namespace, the probe's shell the second.
  expect("no process namespace", status("Pid"), /^2$/);
  expect("/proc/sys can be written", status("core_pattern"), /^absent$/);
  expect("/usr can be written", status("usr"), /^absent$/);
  const interfaces = lines.filter((line) => /^net:\s*[^|]+:/.test(line))
    .map((line) => line.slice(4).trim().replace(/:.*/, "")).join();
  expect("no network namespace", interfaces, /^(lo)?$/);
  const core = lines.find((line) => line.startsWith("limit:Max core file size")) ?? "";
  expect(
    "core dumps are possible: start the runner with ulimit -c 0",
    core,
    /^limit:Max core file size\s+0\s+0\s/,
  );
}
