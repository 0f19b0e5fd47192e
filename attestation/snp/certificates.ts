// AMD's certificates (AMD 57230 §3): which names, keys and extensions an ARK, ASK, ASVK, VCEK and
// VLEK must have. They come with the evidence or from a collateral server: only keys are trusted.
import { CocosError } from "../../base/mod.ts";
import {
  attribute,
  type Certificate,
  crlAddress,
  Oid,
  only,
  smallInteger,
  Tag,
  textOf,
} from "../x509/mod.ts";
import { lineOfName, type ProductLine, type Tcb } from "./tcb.ts";
import type { SigningKey } from "./report.ts";

/** What the extensions of a VCEK or VLEK say. */
export interface LeafExtensions {
  /** As written, such as `Milan-B0`. */
  readonly productName: string;
  readonly line: ProductLine;
  readonly tcb: Tcb;
  /** VCEK only: 64 bytes, on Turin 8. */
  readonly hwid: Uint8Array | undefined;
  /** VLEK only. */
  readonly cspId: string | undefined;
}

const PREFIX = "1.3.6.1.4.1.3704.1.";
const NAMES = {
  struct: `${PREFIX}1`,
  product: `${PREFIX}2`,
  bootloader: `${PREFIX}3.1`,
  tee: `${PREFIX}3.2`,
  snp: `${PREFIX}3.3`,
  reserved4: `${PREFIX}3.4`,
  reserved5: `${PREFIX}3.5`,
  reserved6: `${PREFIX}3.6`,
  reserved7: `${PREFIX}3.7`,
  microcode: `${PREFIX}3.8`,
  fmc: `${PREFIX}3.9`,
  hwid: `${PREFIX}4`,
  cspId: `${PREFIX}5`,
} as const;

/**
 * Reads the extensions of a leaf.
 *
 * @throws {CocosError} `invalid-argument` for a missing, unknown or malformed one, and when chip and
 * provider identity do not exclude each other.
 */
export function leafExtensions(leaf: Certificate): LeafExtensions {
  const known = new Set<string>([...Object.values(NAMES), Oid.AUTHORITY_KEY_ID]);
  for (const [oid] of leaf.extensions) {
    if (!known.has(oid)) throw refuse(`extension ${oid} is unknown`);
  }
  const value = (oid: string) => leaf.extensions.get(oid)?.value;
  const number = (name: keyof typeof NAMES, max: number): number | undefined => {
    const bytes = value(NAMES[name]);
    if (bytes === undefined) return undefined;
    const what = `extension ${name} of a VCEK`;
    return smallInteger(only(bytes, Tag.INTEGER, what), max, what);
  };
  const must = (name: keyof typeof NAMES, max: number): number => {
    const found = number(name, max);
    if (found === undefined) throw refuse(`extension ${name} is missing`);
    return found;
  };
  if (must("struct", 1) > 1) throw refuse("its structure version is unknown");
  for (const name of ["reserved4", "reserved5", "reserved6", "reserved7"] as const) {
    number(name, 0);
  }
  const product = value(NAMES.product);
  if (product === undefined) throw refuse("the product name is missing");
  const productName = textOf(only(product, Tag.IA5_STRING, "a product name"), "a product name");
  const line = lineOfName(productName);
  if (line === undefined) {
    throw refuse(`product ${JSON.stringify(productName.slice(0, 32))} is unknown`);
  }
  const fmc = number("fmc", 127);
  if ((fmc !== undefined) !== (line === "Turin")) {
    throw refuse(`an FMC version goes with Turin only, this is ${line}`);
  }
  const csp = value(NAMES.cspId);
  const chip = value(NAMES.hwid);
  if ((csp === undefined) === (chip === undefined)) {
    throw refuse("exactly one of hardware id and provider id is due");
  }
  return Object.freeze({
    productName,
    line,
    tcb: Object.freeze({
      fmc: fmc ?? 0,
      bootloader: must("bootloader", 127),
      tee: must("tee", 127),
      snp: must("snp", 127),
      microcode: must("microcode", 255),
    }),
    hwid: chip === undefined ? undefined : hwidOf(chip, line === "Turin" ? 8 : 64),
    cspId: csp === undefined
      ? undefined
      : textOf(only(csp, Tag.IA5_STRING, "a provider id"), "a provider id"),
  });
}

/** The hardware id stands raw in the extension; a tagged OCTET STRING is taken too. */
function hwidOf(bytes: Uint8Array, size: number): Uint8Array {
  if (bytes.length === size) return bytes;
  if (bytes.length === size + 2 && bytes[0] === Tag.OCTET_STRING && bytes[1] === size) {
    return bytes.subarray(2);
  }
  throw refuse(`the hardware id has ${bytes.length} bytes, ${size} are due`);
}

/** @throws {CocosError} `invalid-argument` unless `leaf` has the form of a VCEK or VLEK. */
export function checkLeaf(leaf: Certificate, kind: Exclude<SigningKey, "none">): LeafExtensions {
  checkNames(leaf, kind === "vcek" ? "SEV-VCEK" : "SEV-VLEK", "subject");
  if (leaf.version !== 3) throw refuse(`X.509 version ${leaf.version}, 3 is due`);
  if (leaf.algorithm !== "rsa-pss-sha384") throw refuse(`signature ${leaf.algorithm}`);
  if (leaf.key.kind !== "ec" || leaf.key.curve !== "P-384") throw refuse("its key is not P-384");
  if (leaf.ca) throw refuse("a leaf must not be a certificate authority");
  if (leaf.keyUsage !== undefined && (leaf.keyUsage & 0x80) === 0) {
    throw refuse("its key usage does not allow signatures");
  }
  const extensions = leafExtensions(leaf);
  if ((kind === "vcek") !== (extensions.hwid !== undefined)) {
    throw refuse(kind === "vcek" ? "a VCEK needs a hardware id" : "a VLEK needs a provider id");
  }
  checkNames(leaf, intermediateName(extensions.line, kind), "issuer");
  return extensions;
}

/** Common name of the certificate that signs leaves of that kind. */
export function intermediateName(line: ProductLine, kind: SigningKey): string {
  return kind === "vlek" ? `SEV-VLEK-${line}` : `SEV-${line}`;
}

/** @throws {CocosError} `invalid-argument` unless it has the form of an ASK, ASVK or ARK. */
export function checkAuthority(
  certificate: Certificate,
  commonName: string,
  line: ProductLine,
): void {
  checkNames(certificate, commonName, "subject");
  checkNames(certificate, `ARK-${line}`, "issuer");
  if (certificate.version !== 3) throw refuse(`X.509 version ${certificate.version}, 3 is due`);
  if (certificate.algorithm !== "rsa-pss-sha384") {
    throw refuse(`signature ${certificate.algorithm}`);
  }
  if (certificate.key.kind !== "rsa" || certificate.key.modulus.length !== 512) {
    throw refuse("its key is not RSA with 4096 bits");
  }
  if (!certificate.ca || ((certificate.keyUsage ?? 0) & 0x04) === 0) {
    throw refuse("it is not allowed to sign certificates");
  }
  for (const [oid, { critical }] of certificate.extensions) {
    if (critical && oid !== Oid.BASIC_CONSTRAINTS && oid !== Oid.KEY_USAGE) {
      throw refuse(`critical extension ${oid} is unknown`);
    }
  }
  const point = crlAddress(certificate) ?? "";
  if (!new RegExp(`^https://kdsintf\\.amd\\.com/v[cl]ek/v1/${line}/crl$`).test(point)) {
    throw refuse(`its revocation list is at ${JSON.stringify(point)}`);
  }
}

/** AMD writes the parts of a name in different orders, so they are compared as a set. */
function checkNames(
  certificate: Certificate,
  commonName: string,
  side: "subject" | "issuer",
): void {
  const name = certificate[side];
  const due: Record<string, string> = {
    [Oid.COUNTRY]: "US",
    [Oid.LOCALITY]: "Santa Clara",
    [Oid.STATE]: "CA",
    [Oid.ORGANIZATION]: "Advanced Micro Devices",
    [Oid.UNIT]: "Engineering",
    [Oid.COMMON_NAME]: commonName,
  };
  for (const [oid, text] of Object.entries(due)) {
    const found = attribute(name, oid);
    if (found !== text) {
      throw refuse(`${side} ${oid} must be ${text}, is ${JSON.stringify(found?.slice(0, 64))}`);
    }
  }
  if (name.attributes.length !== 6) throw refuse(`${side} has ${name.attributes.length} parts`);
}

function refuse(reason: string): CocosError {
  return new CocosError("invalid-argument", `Cannot take the certificate as AMD's: ${reason}`);
}
