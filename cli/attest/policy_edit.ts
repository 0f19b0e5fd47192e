// `cocos policy measurement|hostdata|extend`: changes one thing in a policy file and nothing else. Both
// our policies and those of the Go programs are taken; the file is replaced whole.
import { sha256, sha384 } from "@noble/hashes/sha2.js";
import { sha3_256, sha3_384 } from "@noble/hashes/sha3.js";
import { createHash } from "node:crypto";
import { CocosError, messageOf } from "../../base/mod.ts";
import {
  decodeBase64,
  editSeedPolicy,
  formatPolicy,
  formatSeedPolicy,
  parseJson,
  parsePolicy,
  parseSeedPolicy,
  type PcrExpectations,
  type Policy,
  type SeedPcrs,
} from "../../attestation/mod.ts";
import type { Context } from "../context.ts";
import { canonicalManifest } from "../manifest.ts";
import { readText } from "./files.ts";
import type { AttestInvocation } from "./invocation.ts";
import { usage } from "./values.ts";
import { writeFile } from "./write.ts";

const DUE = { "policy measurement": 48, "policy hostdata": 32 } as const;

/** Sets the measurement or the host data. */
export async function setValue(
  { command, value, file }: AttestInvocation & {
    command: "policy measurement" | "policy hostdata";
  },
  { terminal }: Context,
): Promise<void> {
  let bytes: Uint8Array;
  try {
    bytes = decodeBase64(value);
  } catch (cause) {
    throw new CocosError("invalid-argument", "base64 string could not be decoded", { cause });
  }
  if (bytes.length !== DUE[command]) {
    throw usage(
      "data does not have an adequate length",
      `${DUE[command]} bytes are due, there are ${bytes.length}.`,
    );
  }
  const text = await readPolicy(file);
  const name = command === "policy measurement" ? "measurement" : "hostData";
  await save(file, isOurs(text) ? setOurs(text, name, bytes) : editSeedPolicy(text, name, bytes));
  terminal.result({ file, [name]: bytes.toHex() });
}

function setOurs(text: string, name: "measurement" | "hostData", bytes: Uint8Array): string {
  const policy = parsePolicy(text);
  if (policy.snp === undefined) throw usage("this policy has no section snp");
  const value = name === "measurement" ? [bytes.toHex()] : bytes.toHex();
  return formatPolicy({ ...policy, snp: { ...policy.snp, [name]: value } });
}

/**
 * Extends PCR 16 with manifests as the agent does: each bank with the SHA-3 digest of the manifest's
 * canonical JSON (wire.md §4.8). With `compat` it computes what the Go CLI computes, which no agent
 * and no TPM ever agrees with: SHA-512/256 in the SHA-256 bank, over the file's bytes.
 */
export async function extend(
  { file, manifests }: AttestInvocation & { command: "policy extend" },
  { terminal }: Context,
  compat: boolean,
): Promise<void> {
  const text = await readPolicy(file);
  const contents = await Promise.all(manifests.map((path) => readText(path)));
  if (compat) {
    terminal.say(
      "weakness: --compat writes the Go CLI's value of PCR 16, which no TPM agrees with",
    );
  }
  const step = compat ? goExtend : agentExtend;
  const after = (bank: "sha256" | "sha384", old: string | undefined) =>
    contents.reduce<Uint8Array>(
      (value, content) => step(bank, value, content),
      old === undefined ? new Uint8Array(bank === "sha256" ? 32 : 48) : Uint8Array.fromHex(old),
    ).toHex();
  const { written, values } = isOurs(text)
    ? extendOurs(parsePolicy(text), after)
    : extendSeed(text, after);
  await save(file, written);
  terminal.result({ file, pcr16: values });
}

type After = (bank: "sha256" | "sha384", old: string | undefined) => string;

function extendSeed(text: string, after: After) {
  const seed = parseSeedPolicy(text);
  const { sha256, sha384 } = seed.pcrValues;
  const values = {
    sha256: after("sha256", sha256?.["16"]),
    sha384: after("sha384", sha384?.["16"]),
  };
  const pcrValues: SeedPcrs = {
    ...seed.pcrValues,
    sha256: { ...sha256, "16": values.sha256 },
    sha384: { ...sha384, "16": values.sha384 },
  };
  return { written: formatSeedPolicy({ ...seed, pcrValues }), values };
}

function extendOurs(policy: Policy, after: After) {
  const { tpm } = policy;
  if (tpm === undefined) throw usage("this policy has no section tpm");
  const banks = (tpm.banks ?? []).filter((bank) => bank === "sha256" || bank === "sha384");
  const old: PcrExpectations = tpm.pcrs === "any" || tpm.pcrs === undefined ? {} : tpm.pcrs;
  const values: Record<string, string> = {};
  const pcrs: Record<string, Record<number, readonly string[]>> = { ...old };
  for (const bank of banks) {
    const before = old[bank]?.[16];
    if (before !== undefined && before.length !== 1) throw usage(`${bank}:16 has many values`);
    values[bank] = after(bank, before?.[0]);
    pcrs[bank] = { ...old[bank], 16: [values[bank]] };
  }
  const registers = [...new Set([...tpm.registers ?? [], 16])].sort((a, b) => a - b);
  return { written: formatPolicy({ ...policy, tpm: { ...tpm, pcrs, registers } }), values };
}

function agentExtend(bank: "sha256" | "sha384", old: Uint8Array, manifest: string): Uint8Array {
  const json = canonicalManifest(manifest);
  return bank === "sha256"
    ? sha256(joined(old, sha3_256(json)))
    : sha384(joined(old, sha3_384(json)));
}

function goExtend(bank: "sha256" | "sha384", old: Uint8Array, manifest: string): Uint8Array {
  const bytes = new TextEncoder().encode(manifest);
  const hash = (data: Uint8Array) =>
    createHash(bank === "sha256" ? "sha512-256" : "sha384").update(data).digest();
  return new Uint8Array(hash(joined(old, hash(bytes))));
}

function joined(left: Uint8Array, right: Uint8Array): Uint8Array {
  const whole = new Uint8Array(left.length + right.length);
  whole.set(left);
  whole.set(right, left.length);
  return whole;
}

/** Text of a policy file, with the Go CLI's words for failures. */
async function readPolicy(path: string): Promise<string> {
  let text: string;
  try {
    text = await readText(path);
  } catch (cause) {
    const code = cause instanceof CocosError ? cause.code : "io";
    throw new CocosError(
      code,
      `error while reading the attestation policy file: ${messageOf(cause)}`,
      { cause },
    );
  }
  try {
    parseJson(text, "a policy", { characters: text.length + 1 });
    return text;
  } catch (cause) {
    throw new CocosError("invalid-argument", `failed to unmarshal json: ${messageOf(cause)}`, {
      cause,
    });
  }
}

function isOurs(text: string): boolean {
  const json = parseJson(text, "a policy", { characters: text.length + 1 });
  return json.kind === "object" && json.members.has("cocosPolicy");
}

async function save(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text, true);
  } catch (cause) {
    const code = cause instanceof CocosError ? cause.code : "io";
    throw new CocosError(code, `failed to write to file: ${messageOf(cause)}`, { cause });
  }
}
