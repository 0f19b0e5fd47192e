// Writes docs/threats.md: every line of the threat model, held by the tests whose names carry its id,
// or open with the reason that tests/threats.json gives. A name is a claim; a reason beats it.
const root = new URL("../", import.meta.url);

/** One line of the threat model. */
interface Line {
  readonly title: string;
  /** Why it is not held, or not wholly. */
  readonly open?: string;
}

/** The lines by group letter, as tests/threats.json has them. */
export type Model = Record<
  string,
  { readonly title: string; readonly lines: Record<string, Line> }
>;

/** A test found in the tree. */
export interface Found {
  readonly file: string;
  readonly name: string;
}

const NAME = /\b(?:Deno\.test|\.step)\(\s*(?:\{\s*name:\s*)?(["'`])((?:\\.|(?!\1)[\s\S])*)\1/g;

/** Names of the tests and steps in a source text. */
export function testNames(source: string): string[] {
  return [...source.matchAll(NAME)].map(([, , name]) => (name as string).replaceAll(/\s+/g, " "));
}

/** Ids in a test's name: `G-7 …`, `… (M-5, R2)`. */
export function idsOf(name: string): string[] {
  return [...name.matchAll(/(?<![\w-])([A-Z]-\d{1,2}|R[1-8])(?![\w-])/g)].map(([, id]) =>
    id as string
  );
}

/** Mistakes of the model against the tests: a line that claims to be held by no test, unknown ids. */
export function mistakes(model: Model, tests: readonly Found[]): string[] {
  const known = new Map(Object.values(model).flatMap(({ lines }) => Object.entries(lines)));
  const held = new Set(tests.flatMap(({ name }) => idsOf(name)));
  return [
    ...[...known].filter(([id, { open }]) => open === undefined && !held.has(id))
      .map(([id]) => `${id} has no test and no reason`),
    ...[...held].filter((id) => !known.has(id)).map((id) => `${id} is in a name, not in the model`),
  ];
}

/** The page. */
export function render(model: Model, tests: readonly Found[]): string {
  const by = new Map<string, Found[]>();
  for (const test of tests) {
    for (const id of new Set(idsOf(test.name))) by.set(id, [...by.get(id) ?? [], test]);
  }
  const all = Object.values(model).flatMap(({ lines }) => Object.values(lines));
  const open = all.filter((line) => line.open !== undefined).length;
  const parts = [
    `# Threats: what is held, and what is open

Made by \`deno task threats\` from the names of the tests; do not edit. A line is *held* when tests carry
its id and nothing of it is known to be missing, else it is *open*, with the reason and the tests
there are. The lines are those of the threat model; R1 to R8 are the rules behind all of them. Lines
of the sandbox are held for all four kinds of algorithm: programs, Python, WebAssembly, containers.

${all.length - open} of ${all.length} lines are held, ${open} are open.

| group | held | open |
|---|---|---|
${
      Object.entries(model).map(([letter, { title, lines }]) => {
        const count = Object.values(lines).filter((line) => line.open !== undefined).length;
        return `| ${letter}: ${title} | ${Object.keys(lines).length - count} | ${count} |`;
      }).join("\n")
    }`,
  ];
  for (const [letter, { title, lines }] of Object.entries(model)) {
    parts.push(`## ${letter}. ${title}`);
    parts.push(
      Object.entries(lines).map(([id, { title, open }]) => {
        const found = by.get(id) ?? [];
        const state = open === undefined ? "held" : `open: ${open}`;
        const list = found.map(({ file, name }) =>
          `  - \`${file}\`: ${name.replaceAll("*", "\\*")}`
        );
        return [`- **${id}** ${title}: ${state}`, ...list].join("\n");
      }).join("\n"),
    );
  }
  return `${parts.join("\n\n")}\n`;
}

/** Tests of the whole tree, by file and then by place. */
export async function findTests(): Promise<Found[]> {
  const files: string[] = [];
  const walk = async (folder: string) => {
    for await (const { name, isDirectory } of Deno.readDir(new URL(folder, root))) {
      if (isDirectory && !/^(\..*|build|node_modules|testdata)$/.test(name)) {
        await walk(`${folder}${name}/`);
      } else if (name.endsWith("_test.ts")) files.push(`${folder}${name}`);
    }
  };
  await walk("./");
  const found: Found[] = [];
  for (const path of files.sort()) {
    const file = path.slice(2);
    for (const name of testNames(await Deno.readTextFile(new URL(path, root)))) {
      found.push({ file, name });
    }
  }
  return found;
}

/** The model. */
export async function readModel(): Promise<Model> {
  return JSON.parse(await Deno.readTextFile(new URL("tests/threats.json", root)));
}

if (import.meta.main) {
  const model = await readModel();
  const tests = await findTests();
  for (const each of mistakes(model, tests)) console.error(`threats: ${each}`);
  await Deno.writeTextFile(new URL("docs/threats.md", root), render(model, tests));
  console.error(`wrote docs/threats.md from ${tests.length} tests`);
}
