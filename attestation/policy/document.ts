// The policy file: what a relying party demands, section by section. Sections that are there must all
// be satisfied by evidence; evidence of any other technology is refused (threats ).
import { CocosError } from "../../base/mod.ts";
import type { EventLogPolicy } from "../eventlog/mod.ts";
import type { ImaPolicy } from "../ima/mod.ts";
import { type Json, parseJson } from "../json.ts";
import type { SimulatedPolicy } from "../simulated/mod.ts";
import type { SnpPolicy } from "../snp/mod.ts";
import type { TdxPolicy } from "../tdx/mod.ts";
import type { AzureTokenPolicy, GcpEndorsementPolicy } from "../token/mod.ts";
import { type Form, pattern, wrong } from "./_schema.ts";
import {
  AZURE_SECTION,
  EVENT_LOG_SECTION,
  GCP_SECTION,
  IMA_SECTION,
  SIMULATED_SECTION,
  SNP_SECTION,
  TDX_SECTION,
  TPM_SECTION,
  type TpmSection,
} from "./_sections.ts";

/** Version of the file format this program writes and reads. */
export const POLICY_VERSION = 1;

/** Longest policy we read: one with an allow-list of a whole system. */
export const MAX_POLICY_CHARACTERS = 32 * 1024 * 1024;

export type { TpmSection };

/** A policy: at least one section; `snp`, `tdx` and `simulated` exclude one another. */
export interface Policy {
  readonly name: string;
  readonly snp?: SnpPolicy;
  readonly tdx?: TdxPolicy;
  readonly tpm?: TpmSection;
  readonly eventLog?: EventLogPolicy;
  readonly ima?: ImaPolicy;
  readonly azureToken?: AzureTokenPolicy;
  readonly gcpEndorsement?: GcpEndorsementPolicy;
  readonly simulated?: SimulatedPolicy;
}

/** Names of the sections, in the order of the file. */
export const SECTIONS = [
  "snp",
  "tdx",
  "tpm",
  "eventLog",
  "ima",
  "azureToken",
  "gcpEndorsement",
  "simulated",
] as const;

/** Name of a section. */
export type Section = (typeof SECTIONS)[number];

const FORMS: { readonly [name in Section]: Form<NonNullable<Policy[name]>> } = {
  snp: SNP_SECTION,
  tdx: TDX_SECTION,
  tpm: TPM_SECTION,
  eventLog: EVENT_LOG_SECTION,
  ima: IMA_SECTION,
  azureToken: AZURE_SECTION,
  gcpEndorsement: GCP_SECTION,
  simulated: SIMULATED_SECTION,
};

const NAME = pattern(/^[\x20-\x7e]{1,128}$/, "one line of printable ASCII, up to 128 characters");

/** Sections a policy has. */
export function sectionsOf(policy: Policy): readonly Section[] {
  return SECTIONS.filter((name) => policy[name] !== undefined);
}

/**
 * Reads a policy file.
 *
 * @throws {CocosError} `invalid-argument` with the line: empty text, unknown or doubled names, wrong
 * lengths, empty lists, no section, sections that exclude one another.
 */
export function parsePolicy(text: string): Policy {
  const json = parseJson(text, "a policy", { characters: MAX_POLICY_CHARACTERS });
  if (json.kind !== "object") throw wrong(json, "the text", "must be an object");
  const version = json.members.get("cocosPolicy");
  if (version === undefined) {
    throw new CocosError("invalid-argument", "Cannot read a policy: cocosPolicy is missing", {
      hint: "A policy of the Go programs is taken by `policy import`.",
    });
  }
  if (version.kind !== "integer" || version.value !== BigInt(POLICY_VERSION)) {
    throw wrong(version, "cocosPolicy", `must be ${POLICY_VERSION}`);
  }
  const result: { -readonly [name in keyof Policy]: Policy[name] } = { name: "unnamed" };
  for (const [name, value] of json.members) {
    if (name === "cocosPolicy") continue;
    if (name === "name") result.name = NAME.read(value, name);
    else if ((SECTIONS as readonly string[]).includes(name)) {
      readSection(result, name as Section, value);
    } else throw wrong(value, name, "is not a known name");
  }
  return checkedPolicy(result);
}

function readSection<N extends Section>(
  result: { -readonly [name in keyof Policy]: Policy[name] },
  name: N,
  value: Json,
): void {
  (result as Record<Section, unknown>)[name] = FORMS[name].read(value, name);
}

/**
 * Checks what no single section can.
 *
 * @throws {CocosError} `invalid-argument`.
 */
export function checkedPolicy(policy: Policy): Policy {
  const roots = sectionsOf(policy).filter((name) => ["snp", "tdx", "simulated"].includes(name));
  const fault = sectionsOf(policy).length === 0
    ? "it has no section: it would accept nothing"
    : roots.length > 1
    ? `one machine is not ${roots.join(" and ")}`
    : policy.gcpEndorsement !== undefined && policy.snp === undefined && policy.tdx === undefined
    ? "an endorsement needs a section snp or tdx beside it"
    : policy.ima !== undefined && policy.tpm === undefined
    ? "a section ima needs the section tpm that vouches for PCR 10"
    : policy.eventLog !== undefined && policy.tpm === undefined && policy.tdx === undefined
    ? "a section eventLog needs a section tpm or tdx that vouches for the registers"
    : policy.simulated !== undefined && sectionsOf(policy).length > 1
    ? "simulated evidence goes with nothing else"
    : undefined;
  if (fault !== undefined) {
    throw new CocosError("invalid-argument", `Cannot read a policy: ${fault}`);
  }
  return Object.freeze({ ...policy });
}

/** The policy as plain JSON with every value written out. */
export function policyJson(policy: Policy): Record<string, unknown> {
  const sections = sectionsOf(policy).map((name) => [name, writeSection(policy, name)]);
  return { cocosPolicy: POLICY_VERSION, name: policy.name, ...Object.fromEntries(sections) };
}

function writeSection<N extends Section>(policy: Policy, name: N): unknown {
  return FORMS[name].write(policy[name] as NonNullable<Policy[N]>);
}

/** Text of a policy file: every value written out, two spaces, newline at the end. */
export function formatPolicy(policy: Policy): string {
  return `${JSON.stringify(policyJson(policy), null, 2)}\n`;
}
