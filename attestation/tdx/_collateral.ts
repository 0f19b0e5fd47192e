// Verifies Intel's statements and lists, then judges platform, module and quoting enclave by them.
// Server, cache and clock may lie: only signatures by the pinned root's descendants count.
import { CocosError } from "../../base/mod.ts";
import { ANY, type Appraisal, equalBytes, NOT_SET, toHex } from "../verdict.ts";
import {
  attribute,
  type Certificate,
  decodePem,
  isIssuedBy,
  Oid,
  parseCertificate,
  parseCrl,
  verifyRaw,
  verifySignature,
} from "../x509/mod.ts";
import {
  type Level,
  parseQeIdentity,
  parseTcbInfo,
  signatureBytes,
  type TcbStatus,
  type TdxCollateral,
} from "./collateral.ts";
import { checkIntel, INTEL_NAMES, type PckExtensions } from "./pck.ts";
import type { TdxPolicy } from "./policy.ts";
import type { TdxQuote } from "./quote.ts";
import {
  checkModule,
  checkQeIdentity,
  converge,
  INTEL_TD_QE,
  moduleLevel,
  platformLevel,
  qeLevel,
  type QeMarks,
} from "./tcb.ts";

/** Ids decided here. */
export const COLLATERAL_CHECKS = [
  "tdx.collateral.tcb-info",
  "tdx.collateral.qe-identity",
  "tdx.collateral.time",
  "tdx.collateral.evaluation",
  "tdx.revocation.root",
  "tdx.revocation.pck",
  "tdx.platform",
  "tdx.qe-identity",
  "tdx.module",
  "tdx.tcb.qe-level",
  "tdx.tcb.module-level",
  "tdx.tcb.platform-level",
  "tdx.tcb.status",
  "tdx.tcb.advisories",
] as const;

type Ids = (typeof COLLATERAL_CHECKS)[number];

const STATEMENT = "Fetch the statement of Intel's anew, and keep its text as it was sent.";
const UPDATE = "It is older than anything Intel names: ask the host's operator to update it.";

/** The verified chain of a quote. */
export interface Chain {
  readonly pck: Certificate;
  readonly intermediate: Certificate;
  readonly root: Certificate;
  readonly extensions: PckExtensions;
}

/** What the statements say of a platform. */
export interface TcbVerdict {
  readonly status: TcbStatus;
  readonly advisories: readonly string[];
  /** Milliseconds since 1970 of the oldest level. */
  readonly date: number;
}

/** Decides the collateral checks. */
export async function appraiseCollateral(
  appraisal: Appraisal<Ids>,
  quote: TdxQuote,
  chain: Chain,
  policy: TdxPolicy,
  now: number,
  collateral: TdxCollateral | undefined,
): Promise<TcbVerdict | undefined> {
  if (collateral === undefined) {
    const wanted = policy.tcb?.collateral;
    const seam = toHex(quote.body.seamAttributes);
    for (const id of COLLATERAL_CHECKS) {
      if (id === "tdx.qe-identity") continue;
      // What a statement would say of every module in use: no attribute, that is, no debugging.
      const holds = wanted === ANY && (id !== "tdx.module" || /^0+$/.test(seam));
      const actual = id === "tdx.module" ? `, SEAMATTRIBUTES ${seam}` : "";
      appraisal.check(id, holds, wanted ?? NOT_SET, `no collateral at hand${actual}`, {
        remedy: "Give Intel's TCB info, QE identity and revocation lists for this platform.",
      });
    }
    await checkQe(appraisal, quote, INTEL_TD_QE);
    return undefined;
  }
  const info = await appraisal.attempt(
    "tdx.collateral.tcb-info",
    "a TDX TCB info signed by Intel",
    async () => {
      const { tcbInfo, tcbInfoSignature, tcbInfoChain } = collateral;
      const signer = await verifyStatement(tcbInfo, tcbInfoSignature, tcbInfoChain, chain.root);
      return { statement: parseTcbInfo(tcbInfo), signer };
    },
    { remedy: STATEMENT },
  );
  const identity = await appraisal.attempt(
    "tdx.collateral.qe-identity",
    "a TD quoting enclave identity signed by Intel",
    async () => {
      const { qeIdentity, qeIdentitySignature, qeIdentityChain } = collateral;
      const signer = await verifyStatement(
        qeIdentity,
        qeIdentitySignature,
        qeIdentityChain,
        chain.root,
      );
      return { statement: parseQeIdentity(qeIdentity), signer };
    },
    { remedy: STATEMENT },
  );
  if (info === undefined || identity === undefined) return undefined;
  checkTimes(appraisal, [info, identity], now);
  const evaluation = Math.min(info.statement.evaluation, identity.statement.evaluation);
  appraisal.atLeast("tdx.collateral.evaluation", policy.tcb?.minimumEvaluation, evaluation, {
    remedy: "The statements are older than the policy allows: fetch current ones.",
  });
  await checkList(appraisal, "tdx.revocation.root", collateral.rootCrl, chain.root, [
    chain.intermediate,
    info.signer,
    identity.signer,
  ], now);
  await checkList(appraisal, "tdx.revocation.pck", collateral.pckCrl, chain.intermediate, [
    chain.pck,
  ], now);

  const { fmspc, pceId } = chain.extensions;
  appraisal.equal(
    "tdx.platform",
    `FMSPC ${info.statement.fmspc}, PCE ${info.statement.pceId}`,
    `FMSPC ${toHex(fmspc)}, PCE ${toHex(pceId)}`,
    { remedy: "The TCB info is for another platform: fetch the one for this FMSPC." },
  );
  const { statement: qe } = identity;
  const levels: (Level | undefined)[] = [];
  await checkQe(appraisal, quote, qe);
  levels.push(
    await appraisal.attempt(
      "tdx.tcb.qe-level",
      "a level for the quoting enclave",
      () => qeLevel(quote.qeReport, qe),
      { remedy: UPDATE },
    ),
  );
  const module = await appraisal.attempt(
    "tdx.module",
    "a TDX module Intel names",
    () => checkModule(quote.body, info.statement),
    { remedy: "The TDX module is not one of Intel's for this platform." },
  );
  if (module !== undefined) {
    levels.push(
      await appraisal.attempt(
        "tdx.tcb.module-level",
        "a level for the TDX module",
        () => moduleLevel(quote.body, module),
        { remedy: UPDATE },
      ),
    );
  }
  levels.push(
    await appraisal.attempt(
      "tdx.tcb.platform-level",
      "a level for the platform",
      () => platformLevel(quote.body, chain.extensions, info.statement),
      { remedy: UPDATE },
    ),
  );
  return judge(appraisal, levels.filter((each) => each !== undefined), policy, now);
}

/** The quoting enclave is checked always, with or without a statement (threat A-7). */
async function checkQe(
  appraisal: Appraisal<Ids>,
  { qeReport }: TdxQuote,
  qe: QeMarks,
): Promise<void> {
  await appraisal.attempt(
    "tdx.qe-identity",
    `MRSIGNER ${qe.mrSigner}, ISVPRODID ${qe.isvProdId}, attributes as signed`,
    () => checkQeIdentity(qeReport, qe),
    { remedy: "The quoting enclave is not Intel's." },
  );
}

/** Chain of two to the pinned root, then the signature over the exact text. */
async function verifyStatement(
  text: string,
  signature: string,
  pem: string,
  root: Certificate,
): Promise<Certificate> {
  const [signer, top, ...more] = decodePem(pem.replace(/\0+$/, ""), "CERTIFICATE", 2)
    .map((der) => parseCertificate(der));
  if (signer === undefined || top === undefined || more.length > 0) {
    throw refuse("the signing chain must have two certificates");
  }
  checkIntel(signer, [INTEL_NAMES.signing], false);
  if (!equalBytes(top.key.spki, root.key.spki)) throw refuse("the signing chain has another root");
  if (!await isIssuedBy(signer, root)) {
    throw refuse("the root did not sign the signing certificate");
  }
  const data = new TextEncoder().encode(text);
  if (!await verifyRaw(signer.key, "SHA-256", signatureBytes(signature), data)) {
    throw refuse("the signature does not hold");
  }
  return signer;
}

function checkTimes(
  appraisal: Appraisal<Ids>,
  statements: readonly {
    statement: { id: string; issueDate: number; nextUpdate: number };
    signer: Certificate;
  }[],
  now: number,
): void {
  const iso = (ms: number) => Number.isFinite(ms) ? new Date(ms).toISOString() : String(ms);
  const windows = statements.flatMap(({ statement, signer }) => [
    { name: statement.id, from: statement.issueDate, to: statement.nextUpdate },
    { name: `${statement.id} signer`, from: signer.notBefore, to: signer.notAfter },
  ]);
  const outside = windows.find(({ from, to }) => !(from <= now && now <= to));
  appraisal.check(
    "tdx.collateral.time",
    outside === undefined,
    `statements current at ${iso(now)}`,
    outside === undefined
      ? "current"
      : `${outside.name} from ${iso(outside.from)} to ${iso(outside.to)}`,
    { remedy: "Check the clock; fetch current statements." },
  );
}

async function checkList(
  appraisal: Appraisal<Ids>,
  id: Ids,
  der: Uint8Array,
  issuer: Certificate,
  subjects: readonly Certificate[],
  now: number,
): Promise<void> {
  await appraisal.attempt(
    id,
    `a current list of ${
      attribute(issuer.subject, Oid.COMMON_NAME)
    }, without this chain's certificates`,
    async () => {
      const list = parseCrl(der);
      if (!equalBytes(list.issuer.raw, issuer.subject.raw)) {
        throw refuse(
          "the list is of another issuer",
        );
      }
      if (!(list.thisUpdate <= now && now <= list.nextUpdate)) {
        throw refuse(
          `the list holds from ${new Date(list.thisUpdate).toISOString()} to ${
            new Date(list.nextUpdate).toISOString()
          }`,
        );
      }
      if (
        list.algorithm !== "ecdsa-sha256" ||
        !await verifySignature(issuer.key, list.algorithm, list.signature, list.tbs)
      ) {
        throw refuse("the list is not signed by its issuer");
      }
      const revoked = subjects.find((each) => list.revoked.has(each.serial));
      if (revoked !== undefined) throw refuse(`serial ${revoked.serial} is revoked`);
    },
    { remedy: "Fetch the current list; a revoked platform can't be trusted." },
  );
}

function judge(
  appraisal: Appraisal<Ids>,
  levels: readonly Level[],
  policy: TdxPolicy,
  now: number,
): TcbVerdict {
  const status = converge(levels.map((each) => each.status));
  const advisories = [...new Set(levels.flatMap((each) => each.advisories))].sort();
  const { statuses, grace, advisories: tolerated } = policy.tcb ?? {};
  const inGrace = grace !== undefined && now <= grace.until && grace.statuses.includes(status);
  const words = statuses?.join(" or ") ?? "";
  appraisal.check(
    "tdx.tcb.status",
    inGrace || (statuses?.includes(status) ?? false),
    words === ""
      ? NOT_SET
      : grace === undefined
      ? words
      : `${words}; until ${new Date(grace.until).toISOString()} also ${
        grace.statuses.join(" or ")
      }`,
    `${status} (${levels.map((each) => each.status).join(", ")})`,
    {
      remedy:
        "Ask the host's operator to update the platform, or accept the status with open eyes.",
    },
  );
  const open = tolerated === ANY
    ? []
    : advisories.filter((each) => !(tolerated ?? []).includes(each));
  appraisal.check(
    "tdx.tcb.advisories",
    tolerated !== undefined && open.length === 0,
    tolerated === undefined
      ? NOT_SET
      : tolerated === ANY
      ? ANY
      : tolerated.length === 0
      ? "none"
      : `none but ${tolerated.join(", ")}`,
    advisories.length === 0 ? "none" : advisories.join(", "),
    { remedy: "Read the advisories; name those you accept." },
  );
  return { status, advisories, date: Math.min(...levels.map((each) => each.date)) };
}

function refuse(reason: string): CocosError {
  return new CocosError("untrusted", reason);
}
