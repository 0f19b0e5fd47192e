// A fake Intel platform for tests: certificates of Intel's form under a fresh root, quotes and signed
// statements with any field set to any value. Real policies refuse it by its root key.
import { INTEL_TD_QE } from "../tdx/mod.ts";
import { toHex } from "../verdict.ts";
import { encodePem, Oid, parseCertificate, sha, Tag } from "../x509/mod.ts";
import { integer, join, oid, sequence, tlv, TRUE } from "./der.ts";
import {
  certificate,
  ecPair,
  extension,
  name,
  type Order,
  type Pair,
  revocationList,
} from "./pki.ts";

const QE_SIGNER = INTEL_TD_QE.mrSigner;

/** The time of the fake world. */
export const NOW: number = Date.UTC(2026, 5, 1);
const DAY = 86_400_000;
const SGX = "1.2.840.113741.1.13.1";

/** A name as Intel writes it. */
export function intelName(commonName: string): Uint8Array {
  return name([
    [Oid.COMMON_NAME, commonName],
    [Oid.ORGANIZATION, "Intel Corporation"],
    [Oid.LOCALITY, "Santa Clara"],
    [Oid.STATE, "CA"],
    [Oid.COUNTRY, "US"],
  ]);
}

/** Statement texts as data; tests change them before they are signed. */
// deno-lint-ignore no-explicit-any
export type Statement = any;

/** What can be wrong with a fake platform; everything is right by default. */
export interface PlatformOptions {
  readonly version?: 4 | 5;
  /** Use the 648-byte body of TDX 1.5 (version 5 only). */
  readonly td15?: boolean;
  /** Body bytes by offset from its start. */
  readonly body?: Readonly<Record<number, Uint8Array | number>>;
  /** Header bytes by offset. */
  readonly header?: Readonly<Record<number, Uint8Array | number>>;
  /** QE report bytes by offset. */
  readonly qe?: Readonly<Record<number, Uint8Array | number>>;
  readonly pck?: Partial<Order>;
  readonly intermediate?: Partial<Order>;
  readonly root?: Partial<Order>;
  readonly signing?: Partial<Order>;
  readonly outerType?: number;
  readonly innerType?: number;
  readonly tcbInfo?: (info: Statement) => void;
  readonly qeIdentity?: (identity: Statement) => void;
  readonly rootCrl?: Partial<Parameters<typeof revocationList>[0]>;
  readonly pckCrl?: Partial<Parameters<typeof revocationList>[0]>;
  /** Component SVNs of the PCK. */
  readonly components?: readonly number[];
  readonly fmspc?: Uint8Array;
  /** Signs with another key than the QE named. */
  readonly otherKey?: boolean;
  /** The PCK does not sign the QE report. */
  readonly otherPck?: boolean;
}

/** Certificates' extension of a PCK. */
export function sgxExtension(components: readonly number[], fmspc: Uint8Array): Uint8Array {
  const octets = (type: string, bytes: Uint8Array) =>
    sequence(oid(type), tlv(Tag.OCTET_STRING, bytes));
  const tcb = components.map((svn, at) => sequence(oid(`${SGX}.2.${at + 1}`), integer(svn)));
  return extension(
    SGX,
    sequence(
      octets(`${SGX}.1`, new Uint8Array(16).fill(1)),
      sequence(
        oid(`${SGX}.2`),
        sequence(
          ...tcb,
          sequence(oid(`${SGX}.2.17`), integer(11)),
          octets(`${SGX}.2.18`, new Uint8Array(16)),
        ),
      ),
      octets(`${SGX}.3`, new Uint8Array(2)),
      octets(`${SGX}.4`, fmspc),
      sequence(oid(`${SGX}.5`), tlv(Tag.ENUMERATED, Uint8Array.of(1))),
    ),
  );
}

const USAGE_SIGN = extension(Oid.KEY_USAGE, Uint8Array.of(Tag.BIT_STRING, 2, 6, 0xc0), true);
const USAGE_CA = extension(Oid.KEY_USAGE, Uint8Array.of(Tag.BIT_STRING, 2, 1, 0x06), true);
const IS_CA = extension(Oid.BASIC_CONSTRAINTS, sequence(TRUE), true);

/** A quote with everything to judge it. */
export interface FakeTdx {
  readonly quote: Uint8Array;
  /** SHA-384 of the root's key. */
  readonly rootKey: string;
  readonly collateral: {
    readonly tcbInfo: string;
    readonly tcbInfoSignature: string;
    readonly tcbInfoChain: string;
    readonly qeIdentity: string;
    readonly qeIdentitySignature: string;
    readonly qeIdentityChain: string;
    readonly rootCrl: Uint8Array;
    readonly pckCrl: Uint8Array;
  };
}

let pairs: Promise<readonly Pair[]> | undefined;

/** Makes a platform, a TD on it and its quote. */
export async function fakeTdx(options: PlatformOptions = {}): Promise<FakeTdx> {
  pairs ??= Promise.all(Array.from({ length: 6 }, () => ecPair("P-256")));
  const [rootPair, caPair, pckPair, signingPair, keyPair, otherPair] = await pairs as [
    Pair,
    Pair,
    Pair,
    Pair,
    Pair,
    Pair,
  ];
  const common = {
    algorithm: "ecdsa-sha256",
    notBefore: NOW - 365 * DAY,
    notAfter: NOW + 365 * DAY,
  } as const;
  const rootName = intelName("Intel SGX Root CA");
  const caName = intelName("Intel SGX PCK Platform CA");
  const root = await certificate({
    ...common,
    subject: rootName,
    issuer: rootName,
    spki: rootPair.spki,
    signer: rootPair,
    extensions: [USAGE_CA, IS_CA],
    ...options.root,
  });
  const intermediate = await certificate({
    ...common,
    subject: caName,
    issuer: rootName,
    spki: caPair.spki,
    signer: rootPair,
    serial: 2,
    extensions: [USAGE_CA, IS_CA],
    ...options.intermediate,
  });
  const components = options.components ?? Array<number>(16).fill(5);
  const fmspc = options.fmspc ?? new Uint8Array(6).fill(0xf1);
  const pck = await certificate({
    ...common,
    subject: intelName("Intel SGX PCK Certificate"),
    issuer: caName,
    spki: pckPair.spki,
    signer: caPair,
    serial: 3,
    extensions: [USAGE_SIGN, sgxExtension(components, fmspc)],
    ...options.pck,
  });
  const signing = await certificate({
    ...common,
    subject: intelName("Intel SGX TCB Signing"),
    issuer: rootName,
    spki: signingPair.spki,
    signer: rootPair,
    serial: 4,
    extensions: [USAGE_SIGN],
    ...options.signing,
  });
  const chain = [pck, intermediate, root].map((der) => encodePem(der, "CERTIFICATE")).join("");
  const quote = await makeQuote(options, chain, keyPair, otherPair, pckPair);

  const tcbInfo = tcbInfoOf(components, fmspc);
  options.tcbInfo?.(tcbInfo);
  const qeIdentity = qeIdentityOf();
  options.qeIdentity?.(qeIdentity);
  const signed = async (statement: Statement) => {
    const text = JSON.stringify(statement);
    const raw = await signingPair.signRaw("SHA-256", new TextEncoder().encode(text));
    return { text, signature: toHex(raw) };
  };
  const info = await signed(tcbInfo);
  const identity = await signed(qeIdentity);
  const signingChain = [signing, root].map((der) => encodePem(der, "CERTIFICATE")).join("");
  const window = {
    algorithm: "ecdsa-sha256",
    thisUpdate: NOW - DAY,
    nextUpdate: NOW + DAY,
  } as const;
  return {
    quote,
    rootKey: toHex(await sha(384, parseCertificate(root).key.spki)),
    collateral: {
      tcbInfo: info.text,
      tcbInfoSignature: info.signature,
      tcbInfoChain: signingChain,
      qeIdentity: identity.text,
      qeIdentitySignature: identity.signature,
      qeIdentityChain: signingChain,
      rootCrl: await revocationList({
        ...window,
        issuer: rootName,
        signer: rootPair,
        ...options.rootCrl,
      }),
      pckCrl: await revocationList({
        ...window,
        issuer: caName,
        signer: caPair,
        ...options.pckCrl,
      }),
    },
  };
}

function put(target: Uint8Array, fields: Readonly<Record<number, Uint8Array | number>> = {}): void {
  for (const [at, value] of Object.entries(fields)) {
    target.set(typeof value === "number" ? Uint8Array.of(value) : value, Number(at));
  }
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 255, value >> 8);
}

function u32(value: number): Uint8Array {
  return Uint8Array.of(value & 255, value >> 8 & 255, value >> 16 & 255, value >> 24 & 255);
}

async function makeQuote(
  options: PlatformOptions,
  chain: string,
  key: Pair,
  other: Pair,
  pck: Pair,
): Promise<Uint8Array> {
  const version = options.version ?? 4;
  const header = new Uint8Array(48);
  put(header, { 0: version, 2: 2, 4: 0x81, 12: VENDOR });
  put(header, options.header);
  const body = new Uint8Array(options.td15 ? 648 : 584);
  put(body, {
    0: Uint8Array.of(5, 1, 5),
    0x7b: 0x10, // SEPT_VE_DISABLE, bit 28
    0x80: Uint8Array.of(0xe7, 2, 6), // XFAM
    0x88: new Uint8Array(48).fill(0xd0),
    0x208: new Uint8Array(64).fill(0xaa),
  });
  for (const at of [0, 1, 2, 3]) {
    put(body, { [0x148 + 48 * at]: new Uint8Array(48).fill(0xe0 + at) });
  }
  put(body, options.body);
  const frame = version === 5
    ? join(u16(options.td15 ? 3 : 2), u32(body.length))
    : new Uint8Array();
  const signed = join(header, frame, body);
  const point = key.spki.subarray(-64);
  const auth = new Uint8Array(32).fill(7);
  const report = new Uint8Array(384);
  put(report, {
    0x30: Uint8Array.of(0x11),
    0x80: Uint8Array.from(QE_SIGNER.match(/../g) ?? [], (pair) => parseInt(pair, 16)),
    0x100: u16(2),
    0x102: u16(4),
    0x140: await sha(256, join(point, auth)),
  });
  put(report, options.qe);
  const qeSignature = await (options.otherPck ? other : pck).signRaw("SHA-256", report);
  const pem = new TextEncoder().encode(chain + "\0");
  const data = join(
    report,
    qeSignature,
    u16(auth.length),
    auth,
    u16(options.innerType ?? 5),
    u32(pem.length),
    pem,
  );
  const signature = await (options.otherKey ? other : key).signRaw("SHA-256", signed);
  const authData = join(signature, point, u16(options.outerType ?? 6), u32(data.length), data);
  return join(signed, u32(authData.length), authData);
}

const VENDOR = Uint8Array.from(
  "939a7233f79c4ca9940a0db3957f0607".match(/../g) ?? [],
  (pair) => parseInt(pair, 16),
);

function tcbInfoOf(components: readonly number[], fmspc: Uint8Array): Statement {
  const svns = (svn: number) => components.map(() => ({ svn }));
  const module = {
    mrsigner: "00".repeat(48),
    attributes: "00".repeat(8),
    attributesMask: "FF".repeat(8),
  };
  const tdx = [
    { svn: 5 },
    { svn: 0 },
    { svn: 5 },
    ...Array.from({ length: 13 }, () => ({ svn: 0 })),
  ];
  const tcbDate = "2026-01-01T00:00:00Z";
  return {
    id: "TDX",
    version: 3,
    issueDate: new Date(NOW - DAY).toISOString().replace(".000", ""),
    nextUpdate: new Date(NOW + DAY).toISOString().replace(".000", ""),
    fmspc: toHex(fmspc).toUpperCase(),
    pceId: "0000",
    tcbType: 0,
    tcbEvaluationDataNumber: 20,
    tdxModule: module,
    tdxModuleIdentities: [{
      id: "TDX_01",
      ...module,
      tcbLevels: [
        { tcb: { isvsvn: 5 }, tcbDate, tcbStatus: "UpToDate" },
        { tcb: { isvsvn: 2 }, tcbDate, tcbStatus: "OutOfDate", advisoryIDs: ["INTEL-SA-MODULE"] },
      ],
    }],
    tcbLevels: [
      {
        tcb: { sgxtcbcomponents: svns(5), pcesvn: 11, tdxtcbcomponents: tdx },
        tcbDate,
        tcbStatus: "UpToDate",
      },
      {
        tcb: { sgxtcbcomponents: svns(2), pcesvn: 5, tdxtcbcomponents: tdx },
        tcbDate,
        tcbStatus: "OutOfDate",
        advisoryIDs: ["INTEL-SA-PLATFORM"],
      },
    ],
  };
}

function qeIdentityOf(): Statement {
  const tcbDate = "2026-01-01T00:00:00Z";
  return {
    id: "TD_QE",
    version: 2,
    issueDate: new Date(NOW - DAY).toISOString().replace(".000", ""),
    nextUpdate: new Date(NOW + DAY).toISOString().replace(".000", ""),
    tcbEvaluationDataNumber: 20,
    miscselect: "00000000",
    miscselectMask: "FFFFFFFF",
    attributes: "11000000000000000000000000000000",
    attributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
    mrsigner: QE_SIGNER.toUpperCase(),
    isvprodid: 2,
    tcbLevels: [
      { tcb: { isvsvn: 4 }, tcbDate, tcbStatus: "UpToDate" },
      { tcb: { isvsvn: 1 }, tcbDate, tcbStatus: "OutOfDate", advisoryIDs: ["INTEL-SA-QE"] },
    ],
  };
}
