// Takes defences away, one at a time, in a copy of the tree, and runs the tests of their line of the
// threat model: each must turn red. Not part of the ordinary tests; it takes about half an hour.
//   deno task mutate              all of them, a table at the end
//   deno task mutate G-7 …        those lines only
//   deno task mutate --write      and docs/mutations.md; with lines named, their rows alone are new
import { BASICS, type Mutation, MUTATIONS } from "./_mutations.ts";

const root = new URL("../", import.meta.url).pathname;

/** Longest run of one mutation's tests: a defence may be what ends a wait. */
const LIMIT_MS = 240_000;

/** Permission set of tests that cross rooms; a room's own is `test`. */
const SETS: Record<string, string> = { interop: "interop", hostile: "hostile", e2e: "e2e" };

/** What became of a mutation. */
export interface Outcome {
  readonly mutation: Mutation;
  /** Names of the tests that failed; empty where nobody noticed. */
  readonly red: readonly string[];
  /** Why there is no verdict: the text is gone, or the tests fail without the mutation. */
  readonly void?: string;
}

/** What a run of tests says: `file: name` of those that failed, and how many were run. */
export function reading(output: string, folder: string): { red: string[]; ran: number } {
  const red = [...output.matchAll(/^(.+?) => \.\/(\S+?):\d+:\d+$/gm)]
    .map(([, name, file]) => `\`${folder}/${file}\`: ${name}`);
  const summary = /\| (\d+) passed(?: \([^)]*\))? \| (\d+) failed/.exec(output);
  return { red: [...new Set(red)], ran: Number(summary?.[1] ?? 0) + Number(summary?.[2] ?? 0) };
}

/** Runs tests of a line in a tree. */
async function tests(
  tree: string,
  file: string,
  line: string,
): Promise<{ red: string[]; ran: number; ok: boolean }> {
  const [folder = "", ...rest] = file.split("/");
  const set = folder === "tests" ? SETS[rest[0] as string] ?? "test" : "test";
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["test", "--no-prompt", "--no-check", "--cached-only", `-P=${set}`],
      ...["--filter", `/(^|[^\\w-])${line}($|[^\\w-])/`, rest.join("/")],
    ],
    cwd: `${tree}/${folder}`,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1", COCOS_DENO: Deno.execPath() },
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, LIMIT_MS);
  const { success, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const output = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  const { red, ran } = reading(output, folder);
  if (late) red.push(`\`${file}\`: did not end`);
  return { red, ran, ok: success };
}

/** A copy of the tracked tree, with a repository of its own: some rules ask git what there is. */
async function copyTree(): Promise<string> {
  await Deno.mkdir(`${root}.cache`, { recursive: true });
  const tree = await Deno.makeTempDir({ dir: `${root}.cache`, prefix: "mutants-" });
  await Deno.chmod(tree, 0o755);
  const run = async (command: string, args: string[], cwd: string) => {
    const { success, stdout, stderr } = await new Deno.Command(command, { args, cwd }).output();
    if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
    return new TextDecoder().decode(stdout);
  };
  const listed = await run("git", ["ls-files", "-co", "--exclude-standard"], root);
  const names = listed.trim().split("\n").filter((name) => exists(`${root}${name}`));
  await run("cp", ["-a", "--parents", "-t", tree, ...names], root);
  await run("git", ["init", "-q"], tree);
  // What was fetched and built stays where it is.
  await Deno.mkdir(`${tree}/.cache`);
  for (const { name, isFile } of Deno.readDirSync(`${root}.cache`)) {
    if (isFile) await Deno.copyFile(`${root}.cache/${name}`, `${tree}/.cache/${name}`);
  }
  if (exists(`${root}build`)) await run("cp", ["-as", `${root}build`, tree], root);
  return tree;
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Takes one defence away, looks, and puts it back. `known` keeps what is green without. */
async function judge(
  tree: string,
  mutation: Mutation,
  known: Map<string, boolean>,
): Promise<Outcome> {
  const path = `${tree}/${mutation.file}`;
  const text = await Deno.readTextFile(path);
  const count = text.split(mutation.find).length - 1;
  if (count !== 1) return { mutation, red: [], void: `its text is there ${count} times` };
  for (const file of mutation.tests) {
    const key = `${file} ${mutation.line}`;
    if (!known.has(key)) {
      const { ok, ran } = await tests(tree, file, mutation.line);
      known.set(key, ok && ran > 0);
    }
    if (known.get(key) === false) return { mutation, red: [], void: `${file} is not green before` };
  }
  await Deno.writeTextFile(path, text.replace(mutation.find, () => mutation.replace));
  try {
    const red: string[] = [];
    for (const file of mutation.tests) red.push(...(await tests(tree, file, mutation.line)).red);
    return { mutation, red };
  } finally {
    await Deno.writeTextFile(path, text);
  }
}

/** The page; rows of lines that were not looked at are those of the page before. */
export function render(outcomes: readonly Outcome[], before = ""): string {
  const cell = (text: string) => text.replaceAll("|", "\\|");
  const looked = new Set(outcomes.map(({ mutation }) => mutation.line));
  const rows = [
    ...before.split("\n").filter((row) => {
      const line = /^\| ([A-Z]-?\d+) \|/.exec(row)?.[1];
      return line !== undefined && !looked.has(line);
    }),
    ...outcomes.map(({ mutation: { line, file, removes }, red }) =>
      `| ${line} | ${cell(removes)} | \`${file}\` | ${red.map(cell).join("<br>") || "none"} |`
    ),
  ];
  return [
    "# Defences that were taken away",
    "",
    "Made by `deno task mutate --write`; do not edit. A test that holds a line of the threat model",
    "counts when it turns red without the defence. Each row is one defence, removed in a copy of the",
    "tree, and the tests of that line that failed then; all were green before. The mutations stand in",
    "`tests/_mutations_*.ts`.",
    "",
    "| line | defence removed | in | tests that turned red |",
    "| --- | --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

if (import.meta.main) {
  const only = Deno.args.filter((arg) => !arg.startsWith("-"));
  const chosen = MUTATIONS.filter(({ line }) => only.length === 0 || only.includes(line));
  const tree = await copyTree();
  const outcomes: Outcome[] = [];
  const known = new Map<string, boolean>();
  try {
    for (const mutation of chosen) {
      const outcome = await judge(tree, mutation, known);
      outcomes.push(outcome);
      const { line, removes, file } = mutation;
      const verdict = outcome.void ?? (outcome.red.length > 0 ? "red" : "NOT NOTICED");
      console.log(`${line.padEnd(5)} ${verdict}: without ${removes} (${file})`);
      for (const name of outcome.red) console.log(`        ${name}`);
    }
  } finally {
    await Deno.remove(tree, { recursive: true });
  }
  const unseen = outcomes.filter(({ red }) => red.length === 0);
  const lines = new Set(outcomes.map(({ mutation }) => mutation.line));
  console.log(
    `\n${
      outcomes.length - unseen.length
    } of ${outcomes.length} defences seen, of ${lines.size} lines`,
  );
  const missing = only.length > 0 ? [] : BASICS.filter((line) => !lines.has(line));
  for (const line of missing) console.log(`${line} has no mutation`);
  if (Deno.args.includes("--write")) {
    const page = `${root}docs/mutations.md`;
    const before = only.length === 0 || !exists(page) ? "" : await Deno.readTextFile(page);
    await Deno.writeTextFile(page, render(outcomes, before));
  }
  Deno.exit(unseen.length + missing.length === 0 ? 0 : 1);
}
