// Runs every check of the project and ends with the true counts. `--quick` leaves out the machine.
//   deno task test            everything, the real VM included
//   deno task test --quick    without end-to-end tests
//   deno task test FOLDER…    the tests of these folders only
const root = new URL("../", import.meta.url);

/** Folders with tests beside the code; `tests` holds what crosses folders. */
const UNITS = [
  "base",
  "proto",
  "channel",
  "attestation",
  "runtimes",
  "agent",
  "manager",
  "agreement",
  "computations",
  "cli",
  "hal",
];

/** Counts of one step. */
interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const total: Counts = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];

/** Runs a command, showing its output as it comes; returns that output and whether it succeeded. */
async function run(
  command: string,
  args: string[],
  folder = ".",
): Promise<{ text: string; ok: boolean }> {
  const child = new Deno.Command(command, {
    args,
    cwd: new URL(folder, root),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1", COCOS_DENO: Deno.execPath() },
  }).spawn();
  let text = "";
  const show = async (stream: ReadableStream<Uint8Array>) => {
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      await Deno.stdout.write(new TextEncoder().encode(chunk));
    }
  };
  const [{ success }] = await Promise.all([child.status, show(child.stdout), show(child.stderr)]);
  return { text, ok: success };
}

/** A step that passes or fails as a whole. */
async function step(name: string, command: string, args: string[]): Promise<boolean> {
  console.log(`\n== ${name}`);
  const { ok } = await run(command, args);
  if (ok) total.passed++;
  else {
    total.failed++;
    failures.push(name);
  }
  return ok;
}

/** A step of Deno tests, counted by its own summary; what a machine can't do prints `skipped: why`. */
async function tests(
  name: string,
  folder: string,
  args: string[],
  permissions = "test",
): Promise<void> {
  console.log(`\n== tests of ${name}`);
  const started = performance.now();
  const { text, ok } = await run(Deno.execPath(), [
    "test",
    "--no-prompt",
    "--no-check",
    "--cached-only",
    `-P=${permissions}`,
    ...args,
  ], folder);
  const summary = /\| (\d+) passed(?: \([^)]*\))? \| (\d+) failed(?: \| (\d+) ignored)?/.exec(text);
  const skipped = [...text.matchAll(/^skipped: .+$/gm)].length;
  const passed = Number(summary?.[1] ?? 0);
  const failed = Number(summary?.[2] ?? 0);
  total.passed += passed - skipped;
  total.skipped += skipped + Number(summary?.[3] ?? 0);
  total.failed += failed;
  if (!ok || summary === null) {
    if (failed === 0) total.failed++;
    failures.push(`tests of ${name}`);
  }
  console.log(`   ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

const quick = Deno.args.includes("--quick");
const only = Deno.args.filter((arg) => !arg.startsWith("-"));
const chosen = only.length === 0 ? UNITS : UNITS.filter((unit) => only.includes(unit));
const deno = Deno.execPath();

if (!(await run("bin/prepare", ["test"])).ok) {
  console.log("\n0 passed, 1 failed, 0 skipped");
  Deno.exit(1);
}
if (only.length === 0) {
  await step("format", deno, ["fmt", "--check", "--quiet"]);
  await step("lint", deno, ["lint", "--quiet"]);
  await step("types", deno, ["check", "--quiet", ...UNITS, "examples", "tests"]);
  await tests("the house", "tests", ["house_test.ts", "threats_test.ts", "docs_test.ts"]);
}
// Before the rooms: some of them test against the real kernel and the real firmware.
if (!quick && only.length === 0) await step("image", deno, ["task", "--quiet", "hal"]);
for (const unit of chosen) {
  await tests(unit, unit, ["--trace-leaks", "--doc"]);
}
if (!quick && (only.length === 0 || only.includes("tests"))) {
  if (only.length > 0) await step("image", deno, ["task", "--quiet", "hal"]);
  await tests("the wire, with peers", "tests", ["interop"], "interop");
  await tests("hostile peers", "tests", ["hostile"], "hostile");
  await tests("whole computations", "tests", ["e2e"], "e2e");
}

if (failures.length > 0) console.log(`\nfailed: ${failures.join(", ")}`);
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
Deno.exit(total.failed === 0 ? 0 : 1);
