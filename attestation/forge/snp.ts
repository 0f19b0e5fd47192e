// A fake AMD machine for tests: certificates of AMD's form under a published root, and reports with
// any field set to any value, all correctly signed. Real policies refuse it by its root key.
import { toHex } from "../verdict.ts";
import { Oid, sha, Tag } from "../x509/mod.ts";
import { encodeTcb, type ProductLine, type Tcb, tcbOf } from "../snp/mod.ts";
import { integer, join, sequence, text, tlv } from "./der.ts";
import {
  authorityExtensions,
  certificate,
  ecPair,
  extension,
  name,
  type Order,
  type Pair,
  revocationList,
  rsaPair,
} from "./pki.ts";

/** The time of the fake world. */
export const NOW: number = Date.UTC(2026, 5, 1);
const YEAR = 365 * 86_400_000;
const AMD = "1.3.6.1.4.1.3704.1.";

/** A name as AMD writes it. */
export function amdName(commonName: string): Uint8Array {
  return name([
    [Oid.UNIT, "Engineering"],
    [Oid.COUNTRY, "US"],
    [Oid.LOCALITY, "Santa Clara"],
    [Oid.STATE, "CA"],
    [Oid.ORGANIZATION, "Advanced Micro Devices"],
    [Oid.COMMON_NAME, commonName],
  ]);
}

/** What can be wrong with a fake machine; everything is right by default. */
export interface MachineOptions {
  readonly line?: ProductLine;
  readonly kind?: "vcek" | "vlek";
  readonly productName?: string;
  /** TCB in the leaf. */
  readonly tcb?: Tcb;
  readonly hwid?: Uint8Array;
  readonly leaf?: Partial<Order>;
  readonly intermediate?: Partial<Order>;
  readonly root?: Partial<Order>;
  /** Added to the leaf's extensions. */
  readonly extra?: readonly Uint8Array[];
}

/** A fake machine. */
export interface Machine {
  readonly line: ProductLine;
  readonly kind: "vcek" | "vlek";
  readonly leaf: Uint8Array;
  readonly intermediate: Uint8Array;
  readonly root: Uint8Array;
  readonly hwid: Uint8Array;
  readonly tcb: Tcb;
  /** SHA-384 of the root's key: what a policy must name. */
  readonly rootKey: string;
  /** A list of the root that revokes these serials; with options, a wrong one. */
  crl(
    serials?: readonly number[],
    options?: Partial<Parameters<typeof revocationList>[0]>,
  ): Promise<Uint8Array>;
  /** A list of the intermediate. */
  leafCrl(serials: readonly number[]): Promise<Uint8Array>;
  /** A signed report; `fields` are bytes by offset. */
  report(fields?: Readonly<Record<number, Uint8Array | number>>): Promise<Uint8Array>;
}

/** TCB of a fake machine unless told otherwise. */
export const TCB: Tcb = tcbOf({ bootloader: 4, tee: 1, snp: 24, microcode: 219 });

const CPUS: Record<ProductLine, readonly [number, number, number]> = {
  Milan: [0x19, 0x01, 1],
  Genoa: [0x19, 0x11, 1],
  Turin: [0x1a, 0x02, 1],
};

/** Extensions of a leaf as AMD writes them. */
export function leafExtensionList(
  line: ProductLine,
  kind: "vcek" | "vlek",
  productName: string,
  tcb: Tcb,
  hwid: Uint8Array,
): Uint8Array[] {
  const number = (type: string, value: number) => extension(AMD + type, integer(value));
  return [
    number("1", 0),
    extension(`${AMD}2`, text(productName, Tag.IA5_STRING)),
    ...(line === "Turin" ? [number("3.9", tcb.fmc)] : [number("3.4", 0)]),
    number("3.1", tcb.bootloader),
    number("3.2", tcb.tee),
    number("3.3", tcb.snp),
    number("3.5", 0),
    number("3.6", 0),
    number("3.7", 0),
    number("3.8", tcb.microcode),
    kind === "vcek"
      ? extension(`${AMD}4`, hwid)
      : extension(`${AMD}5`, text("CN=cloud.example", Tag.IA5_STRING)),
  ];
}

function crlPoint(line: ProductLine): Uint8Array {
  const url = new TextEncoder().encode(`https://kdsintf.amd.com/vcek/v1/${line}/crl`);
  return extension(Oid.CRL_POINTS, sequence(sequence(tlv(0xa0, tlv(0xa0, tlv(0x86, url))))));
}

let leafPair: Promise<Pair> | undefined;

/** Makes a machine. */
export async function machine(options: MachineOptions = {}): Promise<Machine> {
  const line = options.line ?? "Milan";
  const kind = options.kind ?? "vcek";
  const tcb = options.tcb ?? TCB;
  const hwid = options.hwid ?? new Uint8Array(line === "Turin" ? 8 : 64).fill(0xc1);
  const ark = rsaPair("ark");
  const ask = rsaPair(kind === "vlek" ? "asvk" : "ask");
  const pair = await (leafPair ??= ecPair("P-384"));
  const rootName = amdName(`ARK-${line}`);
  const askName = amdName(kind === "vlek" ? `SEV-VLEK-${line}` : `SEV-${line}`);
  const common = {
    algorithm: "rsa-pss-sha384",
    notBefore: NOW - YEAR,
    notAfter: NOW + YEAR,
  } as const;
  const root = await certificate({
    ...common,
    subject: rootName,
    issuer: rootName,
    spki: ark.spki,
    signer: ark,
    extensions: [...authorityExtensions(), crlPoint(line)],
    ...options.root,
  });
  const intermediate = await certificate({
    ...common,
    subject: askName,
    issuer: rootName,
    spki: ask.spki,
    signer: ark,
    serial: 65537,
    extensions: [...authorityExtensions(), crlPoint(line)],
    ...options.intermediate,
  });
  const productName = options.productName ?? (line === "Turin" ? line : `${line}-B0`);
  const leaf = await certificate({
    ...common,
    subject: amdName(kind === "vlek" ? "SEV-VLEK" : "SEV-VCEK"),
    issuer: askName,
    spki: pair.spki,
    signer: ask,
    serial: 7,
    extensions: [
      ...leafExtensionList(line, kind, productName, tcb, hwid),
      ...(options.extra ?? []),
    ],
    ...options.leaf,
  });
  return {
    line,
    kind,
    leaf,
    intermediate,
    root,
    hwid,
    tcb,
    rootKey: toHex(await sha(384, ark.spki)),
    crl: (serials = [], wrong = {}) =>
      revocationList({
        issuer: rootName,
        signer: ark,
        algorithm: "rsa-pss-sha384",
        thisUpdate: NOW - 86_400_000,
        nextUpdate: NOW + 86_400_000,
        serials,
        ...wrong,
      }),
    leafCrl: (serials) =>
      revocationList({
        issuer: askName,
        signer: ask,
        algorithm: "rsa-pss-sha384",
        thisUpdate: NOW - 86_400_000,
        nextUpdate: NOW + 86_400_000,
        serials,
      }),
    report: (fields = {}) => signedReport(pair, line, kind, tcb, hwid, fields),
  };
}

/** Signs 672 bytes as the firmware does and puts r, s little-endian behind them. */
export async function signReport(pair: Pair, bytes: Uint8Array): Promise<Uint8Array> {
  const raw = await pair.signRaw("SHA-384", bytes.subarray(0, 0x2a0));
  bytes.set(raw.subarray(0, 48).toReversed(), 0x2a0);
  bytes.set(raw.subarray(48).toReversed(), 0x2a0 + 72);
  return bytes;
}

function signedReport(
  pair: Pair,
  line: ProductLine,
  kind: "vcek" | "vlek",
  tcb: Tcb,
  hwid: Uint8Array,
  fields: Readonly<Record<number, Uint8Array | number>>,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(0x4a0);
  const put = (at: number, value: Uint8Array | number) =>
    bytes.set(typeof value === "number" ? Uint8Array.of(value) : value, at);
  const versions = encodeTcb(tcb, line);
  put(0x000, 5);
  put(0x00a, 2); // POLICY bit 17
  put(0x034, 1);
  for (const at of [0x038, 0x180, 0x1e0, 0x1f0]) put(at, versions);
  put(0x040, 0x24); // ECC, alias check
  put(0x048, kind === "vlek" ? 4 : 0);
  put(0x050, new Uint8Array(64).fill(0xaa));
  put(0x090, new Uint8Array(48).fill(0xbb));
  put(0x160, new Uint8Array(32).fill(0xff));
  put(0x188, Uint8Array.from(CPUS[line]));
  if (kind === "vcek") put(0x1a0, hwid);
  put(0x1e8, Uint8Array.of(29, 55, 1, 0, 29, 55, 1));
  for (const [at, value] of Object.entries(fields)) put(Number(at), value);
  return signReport(pair, join(bytes));
}
