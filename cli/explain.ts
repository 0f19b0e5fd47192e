// `cocos run explain MANIFEST`: what the sandbox will allow the algorithm of a manifest, made by the
// functions the runner itself uses. The manifest is somebody else's text; nothing of it steers the
// terminal.
import { CocosError } from "../base/mod.ts";
import {
  ABSENT,
  ALLOWED,
  type Command,
  type Condition,
  CONDITIONAL,
  DEFAULT_LIMITS,
  ENVIRONMENT,
  installCommand,
  programCommand,
  pyodideCommand,
  pythonCommand,
  sandboxArgv,
  type SandboxSpec,
  wasmCommand,
  WORLD,
} from "../proto/sandbox/mod.ts";
import type { Agreement, Terms } from "./agreement.ts";
import { readAgreementFile } from "./agreement.ts";
import type { Context } from "./context.ts";
import { printable } from "./terminal.ts";

/** What stands for a place of the machine: `/‹the algorithm›`, which is an absolute path as well. */
const place = (words: string) => `/‹${words}›`;

const PLACES = {
  algorithm: place("the algorithm"),
  datasets: place("the datasets"),
  results: place("the results"),
};
const PYTHON = "/usr/bin/python3";
const DENO = place("Deno of the image");
const SITE = place("the installed packages");

/** Memory of a job that names none, for what follows from it; the runner takes its own. */
const SOME_MEMORY = 1 << 30;

/** One thing that is started: the installation, or the algorithm. */
export interface Step {
  readonly what: "install" | "run";
  readonly spec: SandboxSpec;
}

/**
 * The steps of a manifest's run.
 *
 * @throws {CocosError} `not-supported` for a container: the engine confines it, not this sandbox.
 */
export function stepsOf({ algorithm, limits }: Terms): Step[] {
  const { type, args, runtime } = algorithm;
  const required = algorithm.requirementsHash !== "";
  const memory = { limits: { memoryBytes: limits.memoryBytes || SOME_MEMORY } };
  const step = (what: Step["what"], command: Command): Step => ({
    what,
    spec: { ...command, cwd: WORLD, tmpBytes: DEFAULT_LIMITS.tmpBytes },
  });
  switch (type) {
    case "bin":
      return [step("run", programCommand(PLACES, args))];
    case "wasm": {
      const child = place("our host for WebAssembly");
      const given = { deno: DENO, child, mode: "strict", ...memory } as const;
      return [step("run", wasmCommand(PLACES, given, args))];
    }
    case "python": {
      if (runtime === "pyodide") {
        const given = { deno: DENO, pyodide: place("Pyodide"), ...memory };
        return [step("run", pyodideCommand(PLACES, given, args))];
      }
      const run = step("run", pythonCommand(PLACES, PYTHON, args, required ? SITE : undefined));
      if (!required) return [run];
      const install = installCommand({
        interpreter: PYTHON,
        pip: place("pip of the image"),
        wheels: place("the uploaded wheels"),
        requirements: place("the requirements, as we understood them"),
        site: SITE,
        hashed: true,
      });
      return [step("install", install), run];
    }
    case "docker":
      throw new CocosError(
        "not-supported",
        "Cannot explain a container: its engine confines it, and what that is told follows from the image",
        { hint: "docs/runtimes.md says what a container gets and what it never gets." },
      );
  }
}

/** One line of what is in sight. */
export interface Mount {
  readonly path: string;
  readonly what: string;
}

/** What is in sight inside, read back from bubblewrap's own arguments. */
export function mountsOf(argv: readonly string[]): Mount[] {
  const mounts: Mount[] = [];
  let size = "";
  const bytes = () => `empty, at most ${Number(size).toLocaleString("en")} bytes`;
  const source = (path: string, target: string) =>
    path === target ? "the image's own" : path.replace(/^\/‹(.*)›$/, "$1");
  const end = argv.indexOf("--");
  for (let at = 0; at < end; at++) {
    const [from = "", to = ""] = argv.slice(at + 1, at + 3);
    switch (argv[at]) {
      case "--ro-bind":
        mounts.push({ path: to, what: `${source(from, to)}, read-only` });
        break;
      case "--ro-bind-try":
        mounts.push({ path: to, what: `${source(from, to)}, read-only, where the image has it` });
        break;
      case "--bind":
        mounts.push({ path: to, what: `${source(from, to)}, WRITABLE` });
        break;
      case "--ro-bind-data":
        mounts.push({ path: to, what: "a file of ours that names nobody, read-only" });
        break;
      case "--symlink":
        mounts.push({ path: to, what: `a link to ${from}` });
        break;
      case "--size":
        size = from;
        break;
      case "--tmpfs":
        mounts.push({ path: from, what: `${bytes()}, WRITABLE` });
        break;
      case "--proc":
        mounts.push({ path: from, what: "its own processes only" });
        break;
      case "--dev":
        mounts.push({ path: from, what: "null, zero, full, random, urandom, tty; no device" });
        break;
    }
  }
  return mounts;
}

/** Which arguments of a system call pass, in words. */
function conditionText(condition: Condition): string {
  const hex = (values: readonly number[]) => values.map((each) => `0x${each.toString(16)}`);
  const argument = `argument ${condition.argument + 1}`;
  if ("among" in condition) return `${argument} one of ${hex(condition.among).join(" ")}`;
  if ("notAmong" in condition) return `${argument} none of ${hex(condition.notAmong).join(" ")}`;
  return `${argument} without the bits ${hex([condition.noBitOf])}`;
}

function limitLines({ limits }: Terms): string[] {
  const count = (value: number) => value.toLocaleString("en");
  const of = (name: string, value: number, otherwise: number, unit: string) =>
    `${name.padEnd(11)}${count(value === 0 ? otherwise : value)} ${unit}`;
  const own = DEFAULT_LIMITS;
  return [
    of("time", limits.wallSeconds, own.wallSeconds, "seconds, installation and run together"),
    limits.memoryBytes === 0
      ? `${"memory".padEnd(11)}three quarters of the machine's, no swap`
      : of("memory", limits.memoryBytes, 0, "bytes, no swap"),
    of("processes", limits.processes, own.processes, "at one time, threads included"),
    of(
      "results",
      limits.diskBytes,
      own.resultsBytes,
      `bytes in ${count(own.resultsFiles)} entries`,
    ),
    of("output", limits.logBytes, own.outputBytes, "bytes are passed on, the rest is counted"),
    `${"core dumps".padEnd(11)}none`,
  ];
}

/** What the sandbox will allow, for reading. */
export function explanation({ terms, digest }: Agreement): string {
  const steps = stepsOf(terms);
  const sections: [string, string[]][] = [];
  for (const { what, spec } of steps) {
    const argv = sandboxArgv(spec);
    sections.push(
      [
        what === "run"
          ? "What is started"
          : "What is started first: the installation, without data",
        [[spec.program, ...spec.args].map(word).join(" "), `in ${spec.cwd}, standard input empty`],
      ],
      [
        what === "run" ? "What it sees, and nothing else" : "What the installation sees",
        mountsOf(argv).map((each) => `${each.path.padEnd(23)} ${each.what}`),
      ],
      ["Bubblewrap's arguments", [argv.map(word).join(" ")]],
    );
  }
  sections.push(
    [
      "Environment, all of it",
      Object.entries(ENVIRONMENT).map(([name, value]) => `${name}=${value}`),
    ],
    ["Who it is", [
      "a user without name or rights on the machine; no capability, and no way to gain one",
      "namespaces of its own: user, mount, process, network, IPC, host name, control group;",
      "it can make no further ones, and dies with its runner",
    ]],
    ["Network", [
      "none: an interface to itself, no socket but those between its own processes",
      ...(terms.egress.length === 0 ? [] : [
        `the manifest grants the installation ${terms.egress.map(word).join(", ")}:`,
        "this runner has no network to grant, and refuses such a run",
      ]),
    ]],
    ["What it may use at most", limitLines(terms)],
    ["System calls", [
      `${ALLOWED.length} whatever their arguments:`,
      ...wrapped(ALLOWED),
      "with some arguments only:",
      ...Object.entries(CONDITIONAL).map(([name, each]) => `  ${name}: ${conditionText(each)}`),
      `answered as if the kernel were older: ${ABSENT.join(" ")}`,
      "every other fails; one through the 32-bit or the x32 gate kills it",
    ]],
    ["For the manifest", [`digest  ${digest}`]],
  );
  return sections.map(([title, lines]) => [title, ...lines.map((line) => `  ${line}`)].join("\n"))
    .join("\n");
}

/** A word of a command line, quoted where a reader could take it for several. */
function word(text: string): string {
  return /^[\w@%+=:,./‹› -]+$/.test(text) && !/^-?[^‹]* /.test(text)
    ? text
    : printable(JSON.stringify(text), Infinity);
}

function wrapped(words: readonly string[]): string[] {
  const lines: string[] = [];
  let line = " ";
  for (const each of words) {
    if (line.length + each.length > 96) {
      lines.push(line);
      line = " ";
    }
    line += ` ${each}`;
  }
  return [...lines, line];
}

/** Runs the command. */
export async function explain(
  { file }: { readonly file: string },
  { terminal }: Context,
): Promise<void> {
  const agreement = await readAgreementFile(file);
  const { terms, digest } = agreement;
  terminal.data(explanation(agreement), {
    digest,
    steps: stepsOf(terms).map(({ what, spec }) => {
      const argv = sandboxArgv(spec);
      return { what, program: spec.program, args: spec.args, mounts: mountsOf(argv), argv };
    }),
    environment: ENVIRONMENT,
    limits: terms.limits,
    network: [],
    calls: { allowed: ALLOWED, conditional: CONDITIONAL, absent: ABSENT },
  });
}
