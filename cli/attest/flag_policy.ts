// The policy that flags and configuration files mean. Flags become a policy of the Go programs, which
// is taken over like a file of theirs; what would let anybody's machine or code pass must be said
// with the word `any`, or the policy is refused (threats ).
import {
  ANY,
  decodePem,
  type Finding,
  formatSeedPolicy,
  formatSeedTdxPolicy,
  importPcrs,
  importSeedPolicy,
  importSeedTdxPolicy,
  parseCertificate,
  parseJson,
  parsePolicy,
  parseSeedPolicy,
  parseSeedTdxPolicy,
  type Policy,
  PRODUCT_LINES,
  sectionsOf,
  type SeedPolicy,
  type SeedTdxPolicy,
  sha,
  type TpmSection,
} from "../../attestation/mod.ts";
import { readBytes, readText } from "./files.ts";
import type { Mode, ValidateFlags } from "./invocation.ts";
import {
  ANY_WORD,
  hexBytes,
  hexFlag,
  integerFlag,
  productFlag,
  smallFlag,
  usage,
} from "./values.ts";

/** What the arguments ask for. */
export interface Ordered {
  readonly mode: Mode;
  readonly policy: Policy;
  /** What the policy leaves open. */
  readonly findings: readonly Finding[];
  /** Certificates that came with the flags, DER. */
  readonly authorities: readonly Uint8Array[];
}

/**
 * Makes the policy.
 *
 * @throws {CocosError} `invalid-argument` for missing, malformed or contradicting values.
 */
export async function orderOf(flags: ValidateFlags): Promise<Ordered> {
  const text = flags.config === undefined ? undefined : await readText(flags.config);
  if (text !== undefined && isOurs(text)) return await ours(text, flags);
  const mode = flags.mode ?? "snp";
  switch (mode) {
    case "snp":
    case "snp-vtpm":
    case "vtpm":
      return await snpOrder(mode, flags, text);
    case "tdx":
      return await tdxOrder(flags, text);
    default:
      throw usage(`Cannot judge ${mode} evidence without a policy`, "Give --config.");
  }
}

function isOurs(text: string): boolean {
  const json = parseJson(text, "a policy", { characters: text.length + 1 });
  return json.kind === "object" && json.members.has("cocosPolicy");
}

/** A policy of our own format says which evidence is due; a mode may only agree (threat A-3). */
async function ours(text: string, flags: ValidateFlags): Promise<Ordered> {
  const policy = parsePolicy(text);
  const due = sectionsOf(policy);
  const has = (name: (typeof due)[number]) => due.includes(name);
  const mode: Mode | undefined = has("tdx") && !has("tpm")
    ? "tdx"
    : has("snp")
    ? has("tpm") ? "snp-vtpm" : "snp"
    : has("tpm")
    ? "vtpm"
    : has("azureToken")
    ? "azure-token"
    : has("simulated")
    ? "simulated"
    : undefined;
  if (mode === undefined) {
    throw usage(`Cannot judge one file under a policy for ${due.join(" and ")}`, "Make a bundle.");
  }
  if (flags.mode !== undefined && flags.mode !== mode) {
    throw usage(`Cannot judge ${flags.mode} evidence: the policy demands ${mode}`);
  }
  // Certificates of flags may complete a chain; which root counts stays the policy's word.
  return { mode, policy, findings: [], authorities: await authoritiesOf(flags) };
}

const ZEROS = (length: number) => new Uint8Array(length);

async function snpOrder(
  mode: "snp" | "snp-vtpm" | "vtpm",
  flags: ValidateFlags,
  config: string | undefined,
): Promise<Ordered> {
  const file: SeedPolicy = config === undefined
    ? { policy: {}, pcrValues: {}, rootOfTrust: {}, unknown: [] }
    : parseSeedPolicy(config);
  const findings: Finding[] = [];
  const { tpm, authorities: akRoots } = mode === "snp"
    ? { tpm: undefined, authorities: [] }
    : await tpmSection(mode, flags, file, findings);
  if (mode === "vtpm") {
    const policy: Policy = { name: "flags", ...(tpm === undefined ? {} : { tpm }) };
    return { mode, policy, findings, authorities: akRoots };
  }
  const seed = await seedOf(flags, file);
  const { policy: taken, findings: found } = await importSeedPolicy(
    formatSeedPolicy({ ...seed, pcrValues: {} }),
    "flags",
  );
  findings.push(...found.filter(({ path }) => !path.startsWith("pcr_values")));
  const authorities = await authoritiesOf(flags);
  const roots = await rootsOf(authorities);
  const vmpl = flags.vmpl === ANY_WORD ? ANY : smallFlag("vmpl", flags.vmpl, 3);
  const { snp } = taken;
  if (snp === undefined) throw usage("Cannot make a policy of these flags");
  if (snp.measurement === ANY && flags.measurement !== ANY_WORD) throw unsaid("measurement");
  const policy: Policy = {
    ...taken,
    snp: {
      ...snp,
      ...(roots.length === 0 ? {} : { roots }),
      ...(vmpl === undefined ? {} : { vmpl: vmpl === ANY ? ANY : [vmpl] }),
    },
    ...(tpm === undefined ? {} : { tpm }),
  };
  return { mode, policy, findings, authorities: [...authorities, ...akRoots] };
}

/** The flags as a policy file of the Go programs; what a configuration file has, comes from there. */
async function seedOf(flags: ValidateFlags, file: SeedPolicy): Promise<SeedPolicy> {
  const bytes = (name: "host_data" | "family_id" | "image_id" | "report_id_ma", length: number) =>
    flags[name] === ANY_WORD ? undefined : hexFlag(name, flags[name], length) ??
      (name === "report_id_ma" ? ZEROS(length).fill(0xff) : ZEROS(length));
  const line = flags.product === undefined ? undefined : productFlag(flags.product);
  const keys = async (paths: readonly string[]) =>
    await Promise.all(paths.map((path) => readBytes(path, 64 * 1024)));
  const hashes = (name: string, list: readonly string[]) =>
    list.map((each) => hexFlag(name, each, 48) as Uint8Array);
  const stepping = smallFlag("stepping", flags.stepping, 255);
  const set = {
    policy: integerFlag("guest_policy", flags.guest_policy) ?? 0x30000n,
    hostData: bytes("host_data", 32),
    familyId: bytes("family_id", 16),
    imageId: bytes("image_id", 16),
    reportIdMa: bytes("report_id_ma", 32),
    reportId: hexFlag("report_id", flags.report_id, 32),
    measurement: hexFlag("measurement", flags.measurement, 48),
    chipId: hexFlag("chip_id", flags.chip_id, 64),
    minimumTcb: integerFlag("minimum_tcb", flags.minimum_tcb),
    minimumLaunchTcb: integerFlag("minimum_lauch_tcb", flags.minimum_lauch_tcb),
    minimumGuestSvn: integerFlag("minimum_guest_svn", flags.minimum_guest_svn),
    minimumBuild: integerFlag("minimum_build", flags.minimum_build),
    minimumVersion: flags.minimum_version ?? "0.0",
    platformInfo: integerFlag("platform_info", flags.platform_info),
    permitProvisionalFirmware: true,
    requireAuthorKey: flags.require_author_key ?? false,
    requireIdBlock: flags.require_id_block ?? false,
    trustedAuthorKeys: await keys(flags.trusted_author_keys),
    trustedAuthorKeyHashes: hashes("trusted_author_key_hashes", flags.trusted_author_key_hashes),
    trustedIdKeys: await keys(flags.trusted_id_keys),
    trustedIdKeyHashes: hashes("trusted_id_key_hashes", flags.trusted_id_key_hashes),
    ...(line === undefined || stepping === undefined ? {} : {
      product: {
        name: BigInt(PRODUCT_LINES.indexOf(line) + 1),
        machineStepping: BigInt(stepping),
      },
    }),
  };
  return {
    unknown: [],
    pcrValues: file.pcrValues,
    policy: present({ ...set, ...file.policy }) as SeedPolicy["policy"],
    rootOfTrust: {
      ...(line === undefined ? {} : { productLine: line }),
      checkCrl: flags.check_crl ?? false,
      ...file.rootOfTrust,
    },
  };
}

function present<T extends Record<string, unknown>>(values: T): Partial<T> {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<T>;
}

/** What is asked of a TPM. The key in the evidence vouches for nothing: something else must. */
async function tpmSection(
  mode: "vtpm" | "snp-vtpm",
  flags: ValidateFlags,
  file: SeedPolicy,
  findings: Finding[],
): Promise<{ tpm: TpmSection; authorities: readonly Uint8Array[] }> {
  const taken = importPcrs(file.pcrValues, findings);
  if (taken === undefined && flags.pcrs !== "any") {
    throw usage(
      "Cannot judge a TPM quote without expected PCR values: any system may have booted",
      "Give a --config with pcr_values, or --pcrs any.",
    );
  }
  const base: TpmSection = taken ?? {
    binding: "report-data",
    nonce: "session",
    banks: ["sha256"],
    registers: [0, 1, 2, 3, 4, 5, 6, 7],
    pcrs: ANY,
    counters: ANY,
    revocation: "required",
    userData: ANY,
  };
  if (flags.cloud === "azure") {
    if (mode === "vtpm") throw usage("Cannot bind the key of an Azure VM: use --mode snp-vtpm");
    return { tpm: { ...base, binding: "hcl" }, authorities: [] };
  }
  if (mode === "snp-vtpm") return { tpm: base, authorities: [] };
  const keys = flags.ak.map((each) => {
    if (hexBytes("ak", each).length !== 32) throw usage("ak must be the SHA-256 of a key");
    return each.toLowerCase();
  });
  if (keys.length > 0) return { tpm: { ...base, binding: "pinned", keys }, authorities: [] };
  const authorities = await readAuthorities(flags.trusted_root);
  const roots = await rootsOf(authorities);
  if (roots.length === 0) {
    throw usage(
      "Cannot judge a TPM quote alone: nothing vouches for its key",
      "Pin the key with --ak, name its certificate's root with --trusted_root, or use --mode snp-vtpm.",
    );
  }
  return {
    tpm: { ...base, binding: "certificate", roots, revocation: flags.check_crl ? "required" : ANY },
    authorities,
  };
}

async function tdxOrder(flags: ValidateFlags, config: string | undefined): Promise<Ordered> {
  const file: SeedTdxPolicy = config === undefined ? {} : parseSeedTdxPolicy(config);
  const hex = (name: string, text: string | undefined, length: number) =>
    hexFlag(name, text, length)?.toHex();
  const rtmrs = flags.rtmrs === undefined || flags.rtmrs === ANY_WORD
    ? undefined
    : flags.rtmrs.split(",").map((each) => hex("rtmrs", each.trim(), 48) as string);
  const seed = present({
    ...present({
      qeVendorId: hex("qe_vendor_id", flags.qe_vendor_id, 16),
      mrSeam: hex("mr_seam", flags.mr_seam, 48),
      tdAttributes: hex("td_attributes", flags.td_attributes, 8),
      xfam: hex("xfam", flags.xfam, 8),
      mrTd: hex("mr_td", flags.mr_td, 48),
      mrConfigId: hex("mr_config_id", flags.mr_config_id, 48),
      mrOwner: hex("mr_owner", flags.mr_owner, 48),
      mrOwnerConfig: hex("mr_config_owner", flags.mr_config_owner, 48),
      minimumTeeTcbSvn: hex("minimum_tee_tcb_svn", flags.minimum_tee_tcb_svn, 16),
      rtmrs,
      minimumQeSvn: smallFlag("minimum_qe_svn", flags.minimum_qe_svn, 65535),
      minimumPceSvn: smallFlag("minimum_pce_svn", flags.minimum_pce_svn, 65535),
      getCollateral: flags.get_collateral ?? true,
    }),
    ...file,
  }) as SeedTdxPolicy;
  const { policy, findings } = importSeedTdxPolicy(formatSeedTdxPolicy(seed), "flags");
  const { tdx } = policy;
  if (tdx === undefined) throw usage("Cannot make a policy of these flags");
  if (tdx.mrTd === ANY && flags.mr_td !== ANY_WORD) throw unsaid("mr_td");
  if ((tdx.rtmr1 === ANY || tdx.rtmr2 === ANY) && flags.rtmrs !== ANY_WORD) throw unsaid("rtmrs");
  const authorities = await authoritiesOf(flags);
  const roots = await rootsOf(authorities);
  return {
    mode: "tdx",
    policy: roots.length === 0 ? policy : { ...policy, tdx: { ...tdx, roots } },
    findings,
    authorities,
  };
}

/** Certificates the flags name, DER; those of a configuration file's list are not read. */
async function authoritiesOf(flags: ValidateFlags): Promise<readonly Uint8Array[]> {
  return [
    ...await readAuthorities([...flags.CA_bundles_paths, ...flags.trusted_root]),
    ...flags.CA_bundles.flatMap((pem) => decodePem(pem, "CERTIFICATE")),
  ];
}

/** DER of all certificates in PEM files. */
export async function readAuthorities(paths: readonly string[]): Promise<readonly Uint8Array[]> {
  const texts = await Promise.all(paths.map((path) => readText(path, 1024 * 1024)));
  return texts.flatMap((pem) => decodePem(pem, "CERTIFICATE"));
}

/** Digests (SHA-384 of SubjectPublicKeyInfo) of the certificates that issued themselves. */
export async function rootsOf(authorities: readonly Uint8Array[]): Promise<string[]> {
  const found = authorities.filter(isRoot).map((der) => parseCertificate(der));
  if (authorities.length > 0 && found.length === 0) {
    throw usage("Cannot trust these certificates: none of them is a root");
  }
  return await Promise.all(found.map(async ({ key }) => (await sha(384, key.spki)).toHex()));
}

/** Root and intermediate among certificates, in whatever order they came. */
export function chainParts(
  authorities: readonly Uint8Array[],
): { root: Uint8Array | undefined; intermediate: Uint8Array | undefined } {
  return {
    root: authorities.find(isRoot),
    intermediate: authorities.find((der) => !isRoot(der)),
  };
}

function isRoot(der: Uint8Array): boolean {
  const { issuer, subject } = parseCertificate(der);
  return issuer.raw.toHex() === subject.raw.toHex();
}

function unsaid(name: string) {
  return usage(
    `Cannot judge without an expected ${name}: any code could run there`,
    `Give --${name}, or \`--${name} any\` if that is what you mean.`,
  );
}
