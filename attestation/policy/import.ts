// Takes policies of the Go programs into ours and says what they left open: there, what is not set is
// not checked. Nothing is made weaker on the way; what can't be carried over is said.
import { messageOf } from "../../base/mod.ts";
import {
  amdKeyDigest,
  guestPolicy,
  platformInfo,
  PRODUCT_LINES,
  type ProductLine,
  readTrustedKey,
  type SnpPolicy,
  snpPolicy,
  TCB_ZERO,
  tcbOfInteger,
} from "../snp/mod.ts";
import { CocosError } from "../../base/mod.ts";
import { tdxPolicy } from "../tdx/mod.ts";
import { ANY, type Flag, toHex } from "../verdict.ts";
import { checkedPolicy, type Policy } from "./document.ts";
import { type Finding, lintPolicy } from "./lint.ts";
import { parsePcrValues, parseSeedPolicy, type SeedPcrs, type SeedPolicy, snake } from "./seed.ts";
import { parseSeedTdxPolicy } from "./seed_tdx.ts";

/** A policy that was taken over. */
export interface Imported {
  readonly policy: Policy;
  /** What the old file left open or what could not be carried over, then the holes of the result. */
  readonly findings: readonly Finding[];
}

function note(path: string, message: string): Finding {
  return { weight: "weakness", path, message };
}

function textOf(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined || bytes.length === 0 ? undefined : toHex(bytes);
}

/** Product line the file names: `product_line`, else the old `product`, else the product's number. */
export function seedLine(seed: SeedPolicy): ProductLine | undefined {
  const { productLine, product } = seed.rootOfTrust;
  const word = productLine || product?.split("-")[0];
  const name = seed.policy.product?.name;
  if (word !== undefined && word !== "") return PRODUCT_LINES.find((line) => line === word);
  return name === undefined ? undefined : PRODUCT_LINES[Number(name) - 1];
}

const LENGTHS = {
  familyId: 16,
  imageId: 16,
  reportData: 64,
  measurement: 48,
  hostData: 32,
  reportId: 32,
  reportIdMa: 32,
  chipId: 64,
} as const;

/**
 * Takes an SNP policy file (go-sev-guest's check.Config, with pcr_values).
 *
 * @throws {CocosError} `invalid-argument`: malformed text, no product line, wrong lengths, a TCB that
 * does not fit the product's layout.
 */
export async function importSeedPolicy(text: string, name = "imported"): Promise<Imported> {
  const seed = parseSeedPolicy(text);
  const { policy, rootOfTrust } = seed;
  const findings = seed.unknown.map((path) => note(path, "is not known and was dropped"));
  const line = seedLine(seed);
  if (line === undefined) throw refuse("it names no product line (root_of_trust.product_line)");
  for (const [field, length] of Object.entries(LENGTHS)) {
    const value = policy[field as keyof typeof LENGTHS];
    if (value !== undefined && value.length !== 0 && value.length !== length) {
      throw refuse(`policy.${snake(field)} has ${value.length} bytes, ${length} are due`);
    }
    if (textOf(value) === undefined) {
      findings.push(note(`policy.${snake(field)}`, "was not set: the Go programs do not check it"));
    }
  }
  if (rootOfTrust.cabundlePaths?.length || rootOfTrust.cabundles?.length) {
    findings.push(
      note("root_of_trust.cabundles", "was not carried over: AMD's own roots are pinned"),
    );
  }
  const one = (value: Uint8Array | undefined) => {
    const hex = textOf(value);
    return hex === undefined ? ANY : [hex];
  };
  const bits = policy.policy ?? 0n;
  if (bits === 0n) {
    findings.push(note("policy.policy", "was not set: the Go programs refuse such a file"));
  }
  const guest = guestPolicy(bits);
  const allowed = (bit: boolean): Flag => bit ? ANY : "off";
  const demanded = (bit: boolean): Flag => bit ? "on" : ANY;
  const minimum = (value: bigint | undefined, path: string) => {
    if (value === undefined || value === 0n) {
      findings.push(note(path, "was not set: firmware of any age passes"));
      return TCB_ZERO;
    }
    return tcbOfInteger(value, line);
  };
  if (policy.vmpl === undefined) {
    findings.push(note("policy.vmpl", "was not set: the Go programs do not check it"));
  }
  const reported = minimum(policy.minimumTcb, "policy.minimum_tcb");
  const snp = snpPolicy({
    products: [line],
    steppings: policy.product?.machineStepping === undefined
      ? ANY
      : [Number(policy.product.machineStepping)],
    signers: ["vcek", "vlek"],
    revocation: rootOfTrust.checkCrl ? "required" : ANY,
    measurement: one(policy.measurement),
    reportData: textOf(policy.reportData) ?? "session",
    hostData: textOf(policy.hostData) ?? ANY,
    familyId: one(policy.familyId),
    imageId: one(policy.imageId),
    reportId: one(policy.reportId),
    reportIdMa: one(policy.reportIdMa),
    chipId: one(policy.chipId),
    vmpl: policy.vmpl === undefined ? ANY : [Number(policy.vmpl)],
    minimumGuestSvn: Number(policy.minimumGuestSvn ?? 0n),
    guest: {
      minimumAbi: `${guest.abiMajor}.${guest.abiMinor}`,
      debug: allowed(guest.debug),
      migration: allowed(guest.migration),
      smt: allowed(guest.smt),
      cxl: allowed(guest.cxl),
      singleSocket: demanded(guest.singleSocket),
      aes256Xts: demanded(guest.aes256Xts),
      raplOff: demanded(guest.raplOff),
      ciphertextHiding: demanded(guest.ciphertextHiding),
      pageSwapOff: demanded(guest.pageSwapOff),
    },
    platform: importPlatform(policy.platformInfo),
    firmware: {
      minimumVersion: policy.minimumVersion || "0.0",
      minimumBuild: Number(policy.minimumBuild ?? 0n),
      provisional: policy.permitProvisionalFirmware ? ANY : "off",
    },
    // The reported TCB is never above the committed and the current one, so its minimum is theirs.
    tcb: {
      reported,
      current: reported,
      committed: reported,
      launch: minimum(policy.minimumLaunchTcb, "policy.minimum_launch_tcb"),
    },
    authorKey: policy.requireAuthorKey ? "on" : ANY,
    idBlock: await importIdBlock(seed),
  });
  const tpm = importPcrs(seed.pcrValues, findings);
  const result = checkedPolicy({ name, snp, ...(tpm === undefined ? {} : { tpm }) });
  return Object.freeze({
    policy: result,
    findings: Object.freeze([...findings, ...lintPolicy(result)]),
  });
}

function importPlatform(raw: bigint | undefined): Partial<SnpPolicy["platform"]> {
  if (raw === undefined) return { tio: ANY };
  const info = platformInfo(raw);
  const allowed = (bit: boolean): Flag => bit ? ANY : "off";
  const demanded = (bit: boolean): Flag => bit ? "on" : ANY;
  return {
    smt: allowed(info.smt),
    tsme: allowed(info.tsme),
    tio: allowed(info.tio),
    ecc: demanded(info.ecc),
    raplOff: demanded(info.raplOff),
    ciphertextHiding: demanded(info.ciphertextHiding),
    aliasCheck: demanded(info.aliasCheck),
  };
}

async function importIdBlock(seed: SeedPolicy): Promise<SnpPolicy["idBlock"]> {
  const { policy } = seed;
  if (!policy.requireIdBlock && !policy.requireAuthorKey) return ANY;
  const digests = async (
    hashes: readonly Uint8Array[] | undefined,
    keys: readonly Uint8Array[] | undefined,
    path: string,
  ) => {
    const found = (hashes ?? []).map(toHex);
    for (const key of keys ?? []) {
      try {
        found.push(await amdKeyDigest(readTrustedKey(key)));
      } catch (error) {
        throw refuse(`${path} holds a key that can't be read: ${messageOf(error)}`, error);
      }
    }
    return found;
  };
  const idKeys = await digests(policy.trustedIdKeyHashes, policy.trustedIdKeys, "trusted_id_keys");
  const authorKeys = await digests(
    policy.trustedAuthorKeyHashes,
    policy.trustedAuthorKeys,
    "trusted_author_keys",
  );
  if (idKeys.length + authorKeys.length === 0) {
    throw refuse("it requires an ID block but names no key: no guest would pass");
  }
  return { idKeys: policy.requireAuthorKey ? [] : idKeys, authorKeys };
}

/** The TPM section of PCR values; banks of SHA-1 are left out, and what that means is said. */
export function importPcrs(values: SeedPcrs, findings: Finding[]): Policy["tpm"] {
  const { sha1, sha256, sha384 } = values;
  if (Object.keys(sha1 ?? {}).length > 0) {
    findings.push(note("pcr_values.sha1", "was not carried over: SHA-1 proves nothing"));
  }
  const banks = ([["sha256", sha256], ["sha384", sha384]] as const)
    .filter(([, pcrs]) => Object.keys(pcrs ?? {}).length > 0);
  if (banks.length === 0) {
    findings.push(note("pcr_values", "is empty: the Go programs then accept any state of the TPM"));
    return undefined;
  }
  const pcrs = Object.fromEntries(banks.map(([bank, each]) => [
    bank,
    Object.fromEntries(Object.entries(each ?? {}).map(([index, value]) => [index, [value]])),
  ]));
  const registers = [...new Set(banks.flatMap(([, each]) => Object.keys(each ?? {}).map(Number)))];
  for (const index of [0, 1, 2, 3, 4, 5, 7, 8, 9]) {
    if (!registers.includes(index)) {
      findings.push({ weight: "note", path: `pcr_values.${index}`, message: "is not looked at" });
    }
  }
  return Object.freeze({
    binding: "report-data",
    nonce: "session",
    banks: banks.map(([bank]) => bank),
    registers: registers.sort((a, b) => a - b),
    pcrs,
    counters: ANY,
    revocation: "required",
    userData: ANY,
  });
}

/** Takes a MANAGER_PCR_VALUES file: the TPM section it makes, and what is weak about it. */
export function importPcrValues(
  text: string,
): { tpm: Policy["tpm"]; findings: readonly Finding[] } {
  const findings: Finding[] = [];
  const tpm = importPcrs(parsePcrValues(text), findings);
  return { tpm, findings };
}

/**
 * Takes a TDX policy file (go-tdx-guest's checkconfig.Config).
 *
 * @throws {CocosError} `invalid-argument`.
 */
export function importSeedTdxPolicy(text: string, name = "imported"): Imported {
  const seed = parseSeedTdxPolicy(text);
  const findings: Finding[] = [];
  const one = (value: string | undefined, path: string) => {
    if (value !== undefined) return [value];
    findings.push(note(path, "was not set: the Go programs do not check it"));
    return ANY;
  };
  const { rtmrs } = seed;
  if (rtmrs !== undefined && rtmrs.length !== 0 && rtmrs.length !== 4) {
    throw refuse(`policy.tdQuoteBodyPolicy.rtmrs has ${rtmrs.length} values, 4 are due`);
  }
  if (seed.cabundlePaths?.length || seed.cabundles?.length) {
    findings.push(
      note("rootOfTrust.cabundles", "was not carried over: Intel's own root is pinned"),
    );
  }
  if (!seed.getCollateral) {
    findings.push(note("rootOfTrust.getCollateral", "is off: the platform's age is not looked at"));
  }
  const mrTds = [...seed.anyMrTd ?? [], ...(seed.mrTd === undefined ? [] : [seed.mrTd])];
  const tdx = tdxPolicy({
    mrTd: mrTds.length > 0 ? mrTds : one(undefined, "mrTd"),
    rtmr0: one(rtmrs?.[0], "rtmrs[0]"),
    rtmr1: one(rtmrs?.[1], "rtmrs[1]"),
    rtmr2: one(rtmrs?.[2], "rtmrs[2]"),
    rtmr3: one(rtmrs?.[3], "rtmrs[3]"),
    reportData: seed.reportData ?? "session",
    qeVendor: one(seed.qeVendorId, "qeVendorId"),
    mrSeam: one(seed.mrSeam, "mrSeam"),
    mrConfigId: one(seed.mrConfigId, "mrConfigId"),
    mrOwner: one(seed.mrOwner, "mrOwner"),
    mrOwnerConfig: one(seed.mrOwnerConfig, "mrOwnerConfig"),
    tdAttributes: one(seed.tdAttributes, "tdAttributes"),
    xfam: one(seed.xfam, "xfam"),
    minimumTeeTcbSvn: seed.minimumTeeTcbSvn ?? ANY,
    minimumQeSvn: seed.minimumQeSvn ?? 0,
    minimumPceSvn: seed.minimumPceSvn ?? 0,
    tcb: { collateral: seed.getCollateral ? "required" : ANY },
  });
  const policy = checkedPolicy({ name, tdx });
  return Object.freeze({ policy, findings: Object.freeze([...findings, ...lintPolicy(policy)]) });
}

function refuse(reason: string, cause?: unknown): CocosError {
  return new CocosError("invalid-argument", `Cannot take over the policy: ${reason}`, { cause });
}
