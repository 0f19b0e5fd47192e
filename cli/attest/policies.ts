// `cocos policy lint|explain|diff|import|generate`: what a policy says and leaves open. Files of the
// Go programs are taken over first; nothing is made weaker on the way.
import { Exit } from "../../base/mod.ts";
import {
  checkedPolicy,
  diffPolicies,
  explainPolicy,
  explainText,
  type Finding,
  formatPolicy,
  formatSeedPolicy,
  generateSnp,
  generateTdx,
  type Imported,
  importPcrValues,
  importSeedPolicy,
  importSeedTdxPolicy,
  type JsonObject,
  lintPolicy,
  parseJson,
  parsePolicy,
  parseReport,
  parseSeedPolicy,
  type Policy,
  policyJson,
  splitExtended,
} from "../../attestation/mod.ts";
import type { Context } from "../context.ts";
import { printable } from "../terminal.ts";
import { fetchSnp, lineOf } from "./amd.ts";
import { MAX_EVIDENCE_BYTES, readBytes, readText } from "./files.ts";
import { chainParts, readAuthorities, rootsOf } from "./flag_policy.ts";
import { fetchTdx } from "./intel.ts";
import type { AttestInvocation } from "./invocation.ts";
import { readServers } from "./servers.ts";
import { readSnp, sourceOf } from "./validate.ts";
import { productFlag, timeFlag, usage } from "./values.ts";
import { writeFile } from "./write.ts";

type Of<C extends AttestInvocation["command"]> = Extract<AttestInvocation, { command: C }>;

/** Names the holes; exit code 5 when there is one. */
export async function lint({ file }: { file: string }, { terminal }: Context): Promise<Exit> {
  const { findings } = await load(file);
  terminal.data(findingsText(findings) || "no hole", { findings });
  return findings.some(({ weight }) => weight === "hole") ? Exit.UNTRUSTED : Exit.OK;
}

/** Prints each check that will run. */
export async function explain({ file }: { file: string }, { terminal }: Context): Promise<void> {
  const { policy } = await load(file);
  terminal.data(explainText(policy).trimEnd(), { checks: explainPolicy(policy) });
}

/** Prints the values that differ. */
export async function diff(
  { before, after }: Of<"policy diff">,
  { terminal }: Context,
): Promise<void> {
  const [left, right] = [(await load(before)).policy, (await load(after)).policy];
  const differences = diffPolicies(left, right);
  const lines = differences.map(({ path, before, after, direction }) =>
    `${path}: ${before ?? "(absent)"} -> ${after ?? "(absent)"}${
      direction === "other" ? "" : ` (${direction})`
    }`
  );
  terminal.data(lines.join("\n") || "no difference", { differences });
}

/** Takes a file over into our format. */
export async function importPolicy(
  { file, product, output }: Of<"policy import">,
  context: Context,
): Promise<void> {
  const { policy, findings } = await load(file, product);
  for (const line of findingsText(findings).split("\n")) context.terminal.say(line);
  await emit(policy, output, context, findings);
}

/** Makes a policy from good evidence. */
export async function generate(
  { file, mode, product, roots: paths, time, offline, output }: Of<"policy generate">,
  context: Context,
): Promise<void> {
  const now = time === undefined ? context.now() : timeFlag(time);
  const source = offline && context.env("HOME") === undefined
    ? undefined
    : sourceOf(context, offline);
  const servers = readServers(context.env);
  const authorities = await readAuthorities(paths);
  const roots = authorities.length === 0 ? {} : { roots: await rootsOf(authorities) };
  if (mode === "tdx") {
    const quote = await readBytes(file, MAX_EVIDENCE_BYTES);
    const collateral = source === undefined ? undefined : await fetchTdx(source, servers, quote);
    const tdx = await generateTdx(quote, { now, collateral }, roots);
    await source?.keep();
    return await emit({ name: "generated", tdx }, output, context);
  }
  const evidence = await readSnp(file);
  const { report: bytes, table } = splitExtended(evidence);
  const report = parseReport(bytes);
  const line = lineOf(report, product === undefined ? [] : [productFlag(product)]);
  const leaf = table?.vcek === undefined && table?.vlek === undefined;
  const got = source === undefined
    ? {}
    : await fetchSnp(source, servers.amd, report, line, { leaf, crl: true });
  const collateral = { ...got, ...chainParts(authorities) };
  const snp = await generateSnp(evidence, { now, collateral }, roots);
  await source?.keep();
  await emit({ name: "generated", snp }, output, context);
}

async function emit(
  made: Policy,
  output: string | undefined,
  { terminal }: Context,
  findings: readonly Finding[] = lintPolicy(made),
): Promise<void> {
  const policy = checkedPolicy(made);
  if (output !== undefined) await writeFile(output, formatPolicy(policy), false);
  const object = { policy: policyJson(policy), findings };
  if (output === undefined) terminal.data(formatPolicy(policy).trimEnd(), object);
  else {
    terminal.success(`Attestation policy file ${output} generated successfully`, { after: "✅" });
    terminal.result({ ...object, file: output });
  }
}

/** A policy file of any of the known formats. */
async function load(path: string, product?: string): Promise<Imported> {
  const text = await readText(path);
  const json = parseJson(text, "a policy", { characters: text.length + 1 });
  if (json.kind !== "object") throw usage("Cannot read a policy: it must be a JSON object");
  const has = (name: string, of: JsonObject = json) => of.members.has(name);
  if (has("cocosPolicy")) {
    const policy = parsePolicy(text);
    return { policy, findings: lintPolicy(policy) };
  }
  const inner = json.members.get("policy");
  if (inner?.kind === "object" && (has("headerPolicy", inner) || has("tdQuoteBodyPolicy", inner))) {
    return importSeedTdxPolicy(text);
  }
  if (has("pcr_values") && json.members.size === 1) {
    const { tpm, findings } = importPcrValues(text);
    if (tpm === undefined) {
      throw usage("Cannot take over the file: it has no PCR value that counts");
    }
    const policy = checkedPolicy({ name: "imported", tpm });
    return { policy, findings: [...findings, ...lintPolicy(policy)] };
  }
  if (product === undefined) return await importSeedPolicy(text);
  const seed = parseSeedPolicy(text);
  const rootOfTrust = { ...seed.rootOfTrust, productLine: productFlag(product) };
  return await importSeedPolicy(formatSeedPolicy({ ...seed, rootOfTrust }));
}

function findingsText(findings: readonly Finding[]): string {
  // Names out of a file of somebody else; nothing of them may steer a terminal.
  return findings.map(({ weight, path, message }) => printable(`${weight}: ${path}: ${message}`))
    .join("\n");
}
