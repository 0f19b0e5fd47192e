// `cocos attestation validate` and `cocos verify`: one appraisal of one bundle, printed as the list of
// its checks. Evidence and collateral are hostile; the policy comes from the person.
import { CocosError, Exit, messageOf } from "../../base/mod.ts";
import {
  appraiseBundle,
  boundPolicy,
  type Bundle,
  type Collateral,
  decodeAttestation,
  type Evidence,
  firstFailure,
  formatAttestationText,
  formatBundle,
  formatPolicy,
  type GivenValues,
  lintPolicy,
  parseAttestationText,
  parseBundle,
  parsePolicy,
  parseReport,
  type Policy,
  REPORT_BYTES,
  SESSION,
  type Session,
  sha,
  splitExtended,
  type TpmAttestation,
  type Verdict,
  verdictEat,
  verdictJson,
  verdictText,
} from "../../attestation/mod.ts";
import type { Context } from "../context.ts";
import { printable } from "../terminal.ts";
import { fetchSnp, lineOf } from "./amd.ts";
import { Cache } from "./cache.ts";
import { Source } from "./collateral.ts";
import { MAX_EVIDENCE_BYTES, MAX_TEXT_BYTES, readBytes, readText } from "./files.ts";
import { chainParts, type Ordered, orderOf } from "./flag_policy.ts";
import { fetchTdx } from "./intel.ts";
import type { AttestInvocation, Mode, ValidateFlags } from "./invocation.ts";
import { reportFromJson } from "./report_json.ts";
import { cacheFolder, readServers } from "./servers.ts";
import { writeFile } from "./write.ts";
import { hexBytes, hexFlag, timeFlag, usage } from "./values.ts";

const MAX_IMA_BYTES = 256 * 1024 * 1024;
/** Bindings of a TPM's key under which REPORT_DATA is made of the value that was asked with. */
const TEE_NONCE: readonly string[] = ["report-data", "svsm", "hcl"];
const FAILED = "attestation validation and verification failed with error: ";

/** Judges an evidence file. */
export async function validate(
  { file, flags }: AttestInvocation & { command: "attestation validate" },
  context: Context,
): Promise<Exit> {
  const { terminal } = context;
  const asked = await orderOf(flags);
  const session = sessionOf(asked, flags, context.now());
  const order = { ...asked, policy: boundPolicy(asked.policy, session) };
  requireFlags(order.policy, flags);
  terminal.say("Checking attestation");
  if (order.policy.tpm?.binding === "hcl" && flags.report_data !== undefined) {
    terminal.say(
      "report_data is not compared: Azure's paravisor chooses REPORT_DATA; the nonce makes it fresh",
    );
  }
  for (const { weight, path, message } of order.findings) {
    if (weight !== "note") terminal.say(printable(`${weight}: ${path}: ${message}`));
  }
  const given = await readEvidence(file, order.mode, order.policy, flags);
  const source = flags.offline && context.env("HOME") === undefined
    ? undefined
    : sourceOf(context, flags.offline);
  const fetched = await fetchCollateral(order.policy, given, source, context);
  const bundle: Bundle = {
    policy: order.policy,
    evidence: given.evidence,
    ...(given.attestation === undefined ? {} : { attestation: given.attestation }),
    session,
    collateral: {
      ...given.collateral,
      ...fetched,
      ...withAuthorities(order.policy, order.authorities, { ...given.collateral, ...fetched }),
      ...(flags.keys === undefined ? {} : { azureKeySet: await readText(flags.keys) }),
    },
  };
  const verdict = await appraiseBundle(bundle);
  if (collateralHolds(verdict)) await source?.keep();
  if (flags.bundle !== undefined) await writeFile(flags.bundle, formatBundle(bundle), true);
  if (verdict.ok && flags.output !== undefined && given.attestation !== undefined) {
    await writeFile(flags.output, formatAttestationText(given.attestation), true);
  }
  return await conclude(verdict, bundle, flags.eat, context);
}

/** Judges a bundle, with nothing but what is inside of it. */
export async function verify(
  { bundle: path, policy, time, eat, ...values }: AttestInvocation & { command: "verify" },
  context: Context,
): Promise<Exit> {
  const inside = parseBundle(await readText(path, MAX_TEXT_BYTES * 2));
  const given = givenValues(values);
  const named = policy === undefined ? inside.policy : parsePolicy(await readText(policy));
  const bundle: Bundle = {
    ...inside,
    policy: boundPolicy(named, given),
    session: {
      ...inside.session,
      ...given,
      ...(time === undefined ? {} : { now: timeFlag(time) }),
    },
  };
  const { terminal } = context;
  terminal.say(`Judged as of ${new Date(bundle.session.now).toISOString()}`);
  if (policy === undefined) {
    terminal.say("The policy is the bundle's own: give --policy if you do not trust who made it.");
  }
  for (const { weight, path, message } of lintPolicy(bundle.policy)) {
    if (weight !== "note") terminal.say(printable(`${weight}: ${path}: ${message}`));
  }
  return await conclude(await appraiseBundle(bundle), bundle, eat, context);
}

async function conclude(
  verdict: Verdict,
  { policy, session }: Bundle,
  eat: string | undefined,
  { terminal }: Context,
): Promise<Exit> {
  if (eat !== undefined) {
    const digest = await sha(256, new TextEncoder().encode(formatPolicy(policy)));
    const result = verdictEat(verdict, {
      now: session.now,
      nonce: session.nonce ?? session.teeNonce ?? session.reportData,
      policyDigest: digest.toHex(),
    });
    await writeFile(eat, `${JSON.stringify(result, null, 2)}\n`, true);
  }
  terminal.data(verdictText(verdict).trimEnd(), verdictJson(verdict));
  if (verdict.ok) {
    terminal.success("Attestation validation and verification is successful!");
    return Exit.OK;
  }
  const failed = firstFailure(verdict);
  terminal.failure(
    `${FAILED}${failed === undefined ? "no check was made" : `${failed.id} does not hold`}`,
    { after: "❌" },
  );
  return Exit.UNTRUSTED;
}

/** Flags without which a mode would prove nothing fresh. */
function requireFlags(policy: Policy, flags: ValidateFlags): void {
  const missing: string[] = [];
  const need = (name: keyof ValidateFlags, wanted: boolean) => {
    if (wanted && flags[name] === undefined) missing.push(`"${name}"`);
  };
  const hardware = policy.snp ?? policy.tdx ?? policy.simulated;
  need("host_data", (policy.snp ?? policy.simulated)?.hostData === SESSION);
  need("report_data", hardware?.reportData === "session" && policy.tpm?.binding !== "hcl");
  need("hcl_report", policy.tpm?.binding === "hcl");
  need("user_data", policy.tpm?.binding === "hcl" && policy.tpm.userData === "session");
  need("nonce", policy.tpm?.nonce === "session" || policy.azureToken?.nonce === "session");
  need("keys", policy.azureToken !== undefined);
  need("event_log", policy.eventLog?.kind === "ccel");
  need("ima", policy.ima !== undefined);
  need("endorsement", policy.gcpEndorsement !== undefined);
  if (missing.length > 0) {
    throw usage(
      `required flag(s) ${missing.join(", ")} not set`,
      "`cocos attestation validate --help` shows the flags of each mode.",
    );
  }
}

function sessionOf({ policy }: Ordered, flags: ValidateFlags, now: number): Session {
  const { reportData, ...others } = givenValues(flags);
  return {
    now: flags.time === undefined ? now : timeFlag(flags.time),
    ...others,
    // With a TPM's key bound by the report, the flag is what went into the report, not the result.
    ...(reportData === undefined
      ? {}
      : TEE_NONCE.includes(policy.tpm?.binding ?? "")
      ? { teeNonce: reportData }
      : { reportData }),
  };
}

/** The values of flags that say them. */
function givenValues(
  flags: Partial<Pick<ValidateFlags, "report_data" | "host_data" | "user_data" | "nonce">>,
): GivenValues {
  const values = {
    reportData: hexFlag("report_data", flags.report_data, 64),
    hostData: hexFlag("host_data", flags.host_data, 32),
    userData: hexFlag("user_data", flags.user_data, 64),
    nonce: flags.nonce === undefined ? undefined : hexBytes("nonce", flags.nonce),
  };
  return present(values);
}

/** Evidence taken from the file and the flags, ready to be judged. */
interface Given {
  readonly evidence: Omit<Evidence, "tpm">;
  readonly attestation?: TpmAttestation;
  readonly collateral: Collateral;
}

async function readEvidence(
  file: string,
  mode: Mode,
  policy: Policy,
  flags: ValidateFlags,
): Promise<Given> {
  const beside = {
    ...(flags.hcl_report === undefined
      ? {}
      : { hclReport: await readBytes(flags.hcl_report, MAX_EVIDENCE_BYTES) }),
    ...(flags.event_log === undefined
      ? {}
      : { eventLog: await readBytes(flags.event_log, MAX_EVIDENCE_BYTES) }),
    ...(flags.ima === undefined ? {} : { ima: await readBytes(flags.ima, MAX_IMA_BYTES) }),
    ...(flags.endorsement === undefined
      ? {}
      : { gcpEndorsement: await readBytes(flags.endorsement, MAX_EVIDENCE_BYTES) }),
  };
  switch (mode) {
    case "snp":
      return { evidence: { ...beside, snp: await readSnp(file) }, collateral: {} };
    case "tdx":
    case "simulated":
      return {
        evidence: { ...beside, [mode]: await readBytes(file, MAX_EVIDENCE_BYTES) },
        collateral: {},
      };
    case "azure-token":
      return { evidence: { ...beside, azureToken: (await readText(file)).trim() }, collateral: {} };
    case "vtpm":
    case "snp-vtpm": {
      const read = flags.format === "textproto"
        ? parseAttestationText(await readText(file))
        : decodeAttestation(await readBytes(file, MAX_EVIDENCE_BYTES));
      const { snp } = read;
      return {
        evidence: {
          ...(policy.eventLog === undefined || read.eventLog.length === 0
            ? {}
            : { eventLog: read.eventLog }),
          ...(read.akCertificate.length === 0 ? {} : { akCertificate: read.akCertificate }),
          ...(snp === undefined || policy.snp === undefined ? {} : { snp: snp.report }),
          ...(read.tdx === undefined || policy.tdx === undefined ? {} : { tdx: read.tdx }),
          ...beside,
        },
        // Azure's key is the one the HCL report names, not the one in this file.
        attestation: policy.tpm?.binding === "hcl" ? { ...read, akPublic: new Uint8Array() } : read,
        collateral: {
          ...(snp === undefined ? {} : {
            snp: present({ leaf: snp.vcek ?? snp.vlek, intermediate: snp.ask, root: snp.ark }),
          }),
          akCertificates: read.intermediates,
        },
      };
    }
  }
}

/** SNP evidence: a report, with or without certificate table, or its JSON form. */
export async function readSnp(file: string, json = file.endsWith(".json")): Promise<Uint8Array> {
  if (json) return reportFromJson(await readText(file));
  const bytes = await readBytes(file, MAX_EVIDENCE_BYTES);
  if (bytes.length < REPORT_BYTES) {
    throw new CocosError(
      "untrusted",
      `attestation too small: got 0x${bytes.length.toString(16)} bytes, need at least 0x4a0 bytes`,
    );
  }
  return bytes;
}

function present<T extends Record<string, Uint8Array | undefined>>(values: T) {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Uint8Array };
}

/** The source of collateral of this run. */
export function sourceOf(context: Context, offline: boolean): Source {
  return new Source({
    cache: new Cache(cacheFolder(context.env)),
    now: context.now,
    signal: context.signal,
    offline,
    say: (line) => context.terminal.say(line),
  });
}

/** Gets what the evidence lacks. A failure is said; the check that wanted it then fails. */
async function fetchCollateral(
  policy: Policy,
  { evidence, collateral }: Given,
  source: Source | undefined,
  context: Context,
): Promise<Collateral> {
  if (source === undefined) return {};
  const servers = readServers(context.env);
  try {
    if (policy.snp !== undefined && evidence.snp !== undefined) {
      const { report: bytes, table } = splitExtended(evidence.snp);
      const report = parseReport(bytes);
      const found = table?.vcek ?? table?.vlek ?? collateral.snp?.leaf;
      const got = await fetchSnp(source, servers.amd, report, lineOf(report, policy.snp.products), {
        leaf: found === undefined,
        crl: policy.snp.revocation === "required",
      });
      return { snp: { ...collateral.snp, ...got } };
    }
    if (policy.tdx?.tcb.collateral === "required" && evidence.tdx !== undefined) {
      return { tdx: await fetchTdx(source, servers, evidence.tdx) };
    }
  } catch (error) {
    if (error instanceof CocosError && error.code === "cancelled") throw error;
    if (!(error instanceof CocosError)) throw error;
    context.terminal.say(messageOf(error));
    if (error.hint !== undefined) context.terminal.say(`hint: ${error.hint}`);
  }
  return {};
}

/** Puts certificates of flags where the chain is built from; the policy names their roots. */
function withAuthorities(
  policy: Policy,
  authorities: readonly Uint8Array[],
  collateral: Collateral,
): Collateral {
  if (authorities.length === 0) return {};
  if (policy.snp === undefined) {
    return policy.tpm === undefined
      ? {}
      : { akCertificates: [...collateral.akCertificates ?? [], ...authorities] };
  }
  return { snp: { ...collateral.snp, ...present(chainParts(authorities)) } };
}

/** Whether what was fetched proved good; only then is it kept. */
function collateralHolds(verdict: Verdict): boolean {
  const ids =
    /^(?:snp\.(?:leaf|root|chain|validity|revocation|signature)|tdx\.(?:root|collateral|revocation)\b)/;
  return verdict.checks.filter(({ id }) => ids.test(id)).every(({ ok }) => ok);
}
