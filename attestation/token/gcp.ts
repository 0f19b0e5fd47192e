// Google's launch endorsements: which measurements a released firmware can have, signed by Google. The
// file comes from a bucket and is not trusted; its root key must be pinned by the policy.
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { CocosError } from "../../base/mod.ts";
import { atLeast, type Explained, explainRules, oneOf, type Rule, runRules } from "../rules.ts";
import { ANY, Appraisal, NOT_SET, type OrAny, toHex, type Verdict } from "../verdict.ts";
import {
  type Certificate,
  decodePem,
  isIssuedBy,
  parseCertificate,
  sha,
  verifySignature,
} from "../x509/mod.ts";

/** What is endorsed for SEV-SNP. */
export interface SnpEndorsement {
  readonly svn: number;
  /** Measurement (hex of 48 bytes) by number of vCPUs. */
  readonly measurements: ReadonlyMap<number, string>;
  readonly familyId: string;
  readonly imageId: string;
  readonly policy: bigint;
}

/** What is endorsed for TDX. */
export interface TdxEndorsement {
  readonly svn: number;
  readonly measurements: readonly { ramGib: number; earlyAccept: boolean; mrTd: string }[];
}

/** The signed part of an endorsement. */
export interface Golden {
  /** Seconds since 1970. */
  readonly timestamp: number;
  /** SHA-384 of the firmware, hex. */
  readonly firmware: string;
  readonly certificate: Uint8Array;
  readonly caBundle: Uint8Array;
  readonly snp: SnpEndorsement | undefined;
  readonly tdx: TdxEndorsement | undefined;
}

/** A parsed endorsement; nothing about it is verified. */
export interface Endorsement {
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
  readonly golden: Golden;
}

/** Largest endorsement we read. */
export const MAX_ENDORSEMENT_BYTES = 256 * 1024;
const MAX_ITEMS = 1024;

type Field = { readonly number: number; readonly value: number | bigint | Uint8Array };

/** Fields of one protobuf message; groups and 32/64-bit fixed fields do not occur here. */
function fields(bytes: Uint8Array): Field[] {
  try {
    const reader = new BinaryReader(bytes);
    const found: Field[] = [];
    while (reader.pos < reader.len) {
      const [number, type] = reader.tag();
      if (type === WireType.Varint) {
        found.push({ number, value: reader.uint64() as bigint | number });
      } else if (type === WireType.LengthDelimited) found.push({ number, value: reader.bytes() });
      else throw new RangeError(`wire type ${type}`);
      if (found.length > MAX_ITEMS) throw new RangeError("too many fields");
    }
    return found;
  } catch (cause) {
    throw new CocosError("invalid-argument", "Cannot read an endorsement: it is malformed", {
      cause,
    });
  }
}

class Message {
  readonly #fields: readonly Field[];
  constructor(bytes: Uint8Array) {
    this.#fields = fields(bytes);
  }
  bytes(number: number): Uint8Array | undefined {
    const value = this.#one(number);
    if (value === undefined || value instanceof Uint8Array) return value;
    throw new CocosError(
      "invalid-argument",
      `Cannot read an endorsement: field ${number} is no bytes`,
    );
  }
  integer(number: number): bigint {
    const value = this.#one(number) ?? 0n;
    if (value instanceof Uint8Array) {
      throw new CocosError(
        "invalid-argument",
        `Cannot read an endorsement: field ${number} is bytes`,
      );
    }
    return BigInt(value);
  }
  all(number: number): Uint8Array[] {
    return this.#fields.flatMap((each) =>
      each.number === number && each.value instanceof Uint8Array ? [each.value] : []
    );
  }
  #one(number: number): Field["value"] | undefined {
    const found = this.#fields.filter((each) => each.number === number);
    if (found.length > 1) {
      throw new CocosError("invalid-argument", `Cannot read an endorsement: field ${number} twice`);
    }
    return found[0]?.value;
  }
}

function hexOf(bytes: Uint8Array | undefined, length: number, name: string): string {
  if (bytes?.length !== length) {
    throw new CocosError(
      "invalid-argument",
      `Cannot read an endorsement: ${name} must have ${length} bytes`,
    );
  }
  return toHex(bytes);
}

/**
 * Parses a VMLaunchEndorsement.
 *
 * @throws {CocosError} `invalid-argument`.
 */
export function parseEndorsement(bytes: Uint8Array): Endorsement {
  if (bytes.length > MAX_ENDORSEMENT_BYTES) {
    throw new CocosError(
      "too-large",
      `Cannot read an endorsement: more than ${MAX_ENDORSEMENT_BYTES} bytes`,
    );
  }
  const outer = new Message(bytes);
  const signed = outer.bytes(1);
  const signature = outer.bytes(2);
  if (signed === undefined || signature === undefined) {
    throw new CocosError(
      "invalid-argument",
      "Cannot read an endorsement: golden values or signature missing",
    );
  }
  const golden = new Message(signed);
  const time = golden.bytes(1);
  const snp = golden.bytes(7);
  const tdx = golden.bytes(8);
  return Object.freeze({
    signed,
    signature,
    golden: Object.freeze({
      timestamp: time === undefined ? 0 : Number(new Message(time).integer(1)),
      firmware: hexOf(golden.bytes(5), 48, "the firmware's digest"),
      certificate: golden.bytes(4) ?? new Uint8Array(),
      caBundle: golden.bytes(6) ?? new Uint8Array(),
      snp: snp === undefined ? undefined : parseSnp(new Message(snp)),
      tdx: tdx === undefined ? undefined : parseTdx(new Message(tdx)),
    }),
  });
}

function parseSnp(message: Message): SnpEndorsement {
  const measurements = new Map<number, string>();
  for (const entry of message.all(2)) {
    const pair = new Message(entry);
    const vcpus = Number(pair.integer(1));
    if (measurements.has(vcpus)) {
      throw new CocosError("invalid-argument", `Cannot read an endorsement: ${vcpus} vCPUs twice`);
    }
    measurements.set(vcpus, hexOf(pair.bytes(2), 48, "a measurement"));
  }
  return Object.freeze({
    svn: Number(message.integer(1)),
    measurements,
    familyId: toHex(message.bytes(3) ?? new Uint8Array(16)),
    imageId: toHex(message.bytes(4) ?? new Uint8Array(16)),
    policy: message.integer(5),
  });
}

function parseTdx(message: Message): TdxEndorsement {
  return Object.freeze({
    svn: Number(message.integer(1)),
    measurements: Object.freeze(
      message.all(2).map((entry) => {
        const item = new Message(entry);
        return Object.freeze({
          ramGib: Number(item.integer(1)),
          earlyAccept: item.integer(2) !== 0n,
          mrTd: hexOf(item.bytes(3), 48, "an MRTD"),
        });
      }),
    ),
  });
}

/** What a relying party expects of an endorsement. */
export interface GcpEndorsementPolicy {
  readonly technology: "gcp-endorsement";
  /** SHA-384 of the SubjectPublicKeyInfo of Google's root. */
  readonly roots: readonly string[];
  /** Security version of the firmware, at least. */
  readonly minimumSvn: number;
  /** SHA-384 of the firmware file, hex. */
  readonly firmware: OrAny<readonly string[]>;
  /** vCPUs of the VM; `any` takes the measurement of any size. */
  readonly vcpus: OrAny<readonly number[]>;
}

/** What a verifier knows besides policy and endorsement. */
export interface GcpEndorsementContext {
  /** Milliseconds since 1970 by the verifier's clock. */
  readonly now: number;
  /** Measurement of a *verified* SNP report, or MRTD of a *verified* quote. */
  readonly measurement: Uint8Array;
  readonly technology: "snp" | "tdx";
}

type Judged = { readonly endorsement: Endorsement; readonly context: GcpEndorsementContext };

const RULES = [
  {
    id: "gcp.measurement",
    expected: (policy, context) =>
      policy.vcpus === undefined
        ? NOT_SET
        : `a measurement Google endorses for ${
          policy.vcpus === ANY ? "any number of" : policy.vcpus.join(" or ")
        } vCPUs${context === undefined ? "" : ` on ${context.technology}`}`,
    actual: ({ context }) => toHex(context.measurement),
    holds: (policy, { endorsement: { golden } }, context) => {
      const actual = toHex(context.measurement);
      if (context.technology === "tdx") {
        return policy.vcpus === ANY &&
          (golden.tdx?.measurements.some(({ mrTd }) => mrTd === actual) ?? false);
      }
      return [...golden.snp?.measurements ?? []].some(([vcpus, measurement]) =>
        measurement === actual &&
        (policy.vcpus === ANY || (policy.vcpus?.includes(vcpus) ?? false))
      );
    },
    remedy: "This firmware is not one that Google endorses here.",
  },
  atLeast(
    "gcp.svn",
    (p) => p.minimumSvn,
    ({ endorsement: { golden }, context }) =>
      (context.technology === "tdx" ? golden.tdx?.svn : golden.snp?.svn) ?? -1,
    "The firmware is older than the policy allows.",
  ),
  oneOf(
    "gcp.firmware",
    (p) => p.firmware,
    ({ endorsement }) => endorsement.golden.firmware,
    "The endorsement is for another firmware file.",
  ),
] as const satisfies readonly Rule<string, GcpEndorsementPolicy, Judged, GcpEndorsementContext>[];

/** Every check of an endorsement's verdict, in order. */
export const GCP_CHECKS = [
  "gcp.format",
  "gcp.root",
  "gcp.chain",
  "gcp.validity",
  "gcp.signature",
  ...RULES.map(({ id }) => id),
] as const;

/** Appraises an endorsement for a measurement that was verified elsewhere. */
export async function appraiseGcpEndorsement(
  bytes: Uint8Array,
  policy: GcpEndorsementPolicy,
  context: GcpEndorsementContext,
): Promise<Verdict> {
  const appraisal = new Appraisal("gcp-endorsement", GCP_CHECKS);
  const parsed = await appraisal.attempt(
    "gcp.format",
    "a launch endorsement with its certificates",
    () => {
      const endorsement = parseEndorsement(bytes);
      const { certificate, caBundle } = endorsement.golden;
      const signer = parseCertificate(certificate, "the endorsement's signer");
      const text = new TextDecoder().decode(caBundle);
      const bundle = decodePem(text, "CERTIFICATE", 4).map((der) => parseCertificate(der));
      return { endorsement, signer, bundle };
    },
    { remedy: "Fetch the endorsement of this measurement anew." },
  );
  if (parsed === undefined) return appraisal.verdict({});
  const { endorsement, signer, bundle } = parsed;
  const root = bundle.at(-1);
  const digest = root === undefined ? "none" : toHex(await sha(384, root.key.spki));
  appraisal.oneOf("gcp.root", policy.roots, digest, {
    remedy: "Pin the key of Google's root certificate.",
  });
  const path = [signer, ...bundle];
  await appraisal.attempt(
    "gcp.chain",
    "each certificate signed by the next, the last by itself",
    async () => {
      for (const [at, each] of path.entries()) {
        const issuer = path[at + 1] ?? each;
        if (at > 0) checkIssuer(each, at - 1);
        if (!await isIssuedBy(each, issuer)) {
          throw new CocosError(
            "untrusted",
            `certificate ${at} is not signed by the next`,
          );
        }
      }
    },
    { remedy: "The certificates do not belong together: fetch the endorsement anew." },
  );
  const { now } = context;
  const valid = path.every((each) => each.notBefore <= now && now <= each.notAfter);
  appraisal.check(
    "gcp.validity",
    valid,
    "all certificates valid now",
    valid ? "valid" : "expired or not yet valid",
    {
      remedy: "Check the clock; get a current endorsement.",
    },
  );
  const good = await verifySignature(
    signer.key,
    "rsa-pss-sha256",
    endorsement.signature,
    endorsement.signed,
  )
    .catch(() => false);
  appraisal.check(
    "gcp.signature",
    good,
    "signed by Google's signing key",
    good ? "holds" : "does not hold",
    {
      remedy: "The endorsement was changed.",
    },
  );
  runRules(appraisal, RULES, policy, { endorsement, context }, context);
  return appraisal.verdict({
    firmware: endorsement.golden.firmware,
    timestamp: endorsement.golden.timestamp,
    measurement: toHex(context.measurement),
  });
}

/** @throws {CocosError} `untrusted` unless it may sign certificates with `below` others under it. */
function checkIssuer({ ca, keyUsage, pathLength }: Certificate, below: number): void {
  if (!ca || (keyUsage !== undefined && (keyUsage & 0x04) === 0)) {
    throw new CocosError("untrusted", "an issuer is not an authority");
  }
  if (pathLength !== undefined && pathLength < below) {
    throw new CocosError("untrusted", "the chain is longer than an issuer allows");
  }
}

/** What {@linkcode appraiseGcpEndorsement} will ask for under a policy. */
export function explainGcpEndorsement(policy: GcpEndorsementPolicy): Explained[] {
  return [
    { id: "gcp.format", expected: "a launch endorsement with its certificates" },
    { id: "gcp.root", expected: policy.roots?.join(" or ") || NOT_SET },
    { id: "gcp.chain", expected: "each certificate signed by the next, the last by itself" },
    { id: "gcp.validity", expected: "all certificates valid at the verifier's time" },
    { id: "gcp.signature", expected: "signed by Google's signing key" },
    ...explainRules(RULES, policy),
  ];
}
