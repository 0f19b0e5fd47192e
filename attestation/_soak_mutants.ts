// A mutation test over the verdicts' own lists: each check in turn is made to hold whatever happens,
// and the tests of its technology must notice. The ids come from the lists, so that a new check can't
// be forgotten. One run is one id.
import { EVENTLOG_CHECKS } from "./eventlog/mod.ts";
import { IMA_CHECKS } from "./ima/mod.ts";
import { SIMULATED_CHECKS } from "./simulated/mod.ts";
import { SNP_CHECKS } from "./snp/mod.ts";
import { TDX_CHECKS } from "./tdx/mod.ts";
import { AZURE_TOKEN_CHECKS, GCP_CHECKS } from "./token/mod.ts";
import { TPM_CHECKS } from "./tpm/mod.ts";
import type { Outcome } from "./_soaks.ts";

/** Lists of checks with the tests that must notice. */
const LISTS: readonly (readonly [ids: readonly string[], tests: string])[] = [
  [["evidence.kinds"], "appraise_test.ts"],
  [SNP_CHECKS, "snp/verify_test.ts"],
  [TDX_CHECKS, "tdx/verify_test.ts"],
  [TPM_CHECKS, "tpm/defects_test.ts"],
  [EVENTLOG_CHECKS, "eventlog/hostile_test.ts"],
  [IMA_CHECKS, "ima/hostile_test.ts"],
  [AZURE_TOKEN_CHECKS, "token/azure_test.ts"],
  [GCP_CHECKS, "token/gcp_test.ts"],
  [SIMULATED_CHECKS, "simulated/verify_test.ts"],
];

/** Every id, with its tests; their order is the runs'. */
export const MUTANTS: readonly (readonly [id: string, tests: string])[] = LISTS
  .flatMap(([ids, tests]) => ids.map((id) => [id, tests] as const));

const HERE = new URL("./", import.meta.url);
/** The first line of verdictOf(), which every verdict goes through. */
const PLACE = "  const ok = checks.length > 0 &&";

/** Makes toothless each check from number `seed` on. */
export async function mutants(runs: number, seed: number): Promise<Outcome> {
  const failures: string[] = [];
  const folder = await Deno.makeTempDir({ dir: "/tmp", prefix: "cocos-mutants-" });
  try {
    // Without a mutant the tests pass: else their failure would say nothing.
    const files = new Set(MUTANTS.slice(seed, seed + runs).map(([, tests]) => tests));
    for (const tests of files) {
      if (await fails(folder, undefined, tests)) failures.push(`${tests} fails by itself`);
    }
    for (const [id, tests] of MUTANTS.slice(seed, seed + runs)) {
      if (!await fails(folder, id, tests)) failures.push(`nobody misses ${id} (${tests})`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  return { runs, failures, figures: { noticed: runs - failures.length } };
}

/** Whether tests fail when a check always holds. */
async function fails(folder: string, id: string | undefined, tests: string): Promise<boolean> {
  const original = new URL("verdict.ts", HERE);
  const config = JSON.parse(await Deno.readTextFile(new URL("../deno.json", HERE)));
  const imports: Record<string, string> = {};
  for (const [name, target] of Object.entries<string>(config.imports)) {
    imports[name] = target;
    // A configuration file stands for parts of a package as well, an import map only says so.
    imports[`${name}/`] ??= `${target.replace("npm:", "npm:/")}/`;
  }
  if (id !== undefined) {
    const source = await Deno.readTextFile(original);
    const lie = `  checks = checks.map((each) => each.id === ${JSON.stringify(id)} ` +
      "? { ...each, ok: true } : each);\n";
    const changed = source.replace(PLACE, `${lie}${PLACE}`)
      .replaceAll('"../base/', `"${new URL("../base/", HERE)}`);
    if (changed.length < source.length + lie.length) throw new Error(`no place for ${id}`);
    await Deno.writeTextFile(`${folder}/verdict.ts`, changed);
    imports[original.href] = `file://${folder}/verdict.ts`;
  }
  await Deno.writeTextFile(`${folder}/imports.json`, JSON.stringify({ imports }));
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...[
        "test",
        "--quiet",
        "--no-prompt",
        "--no-check",
        "--cached-only",
        "--fail-fast",
        "-P=test",
      ],
      ...[`--import-map=${folder}/imports.json`, tests],
    ],
    cwd: HERE,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  return !success;
}
