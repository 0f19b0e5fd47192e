// The whole appraisal: policy, evidence, session and collateral in, one verdict out. The policy says
// which technologies are due; evidence never chooses its verifier (threat A-3).
import { messageOf } from "../base/mod.ts";
import type { BankValues } from "./banks.ts";
import { appraiseEventLog } from "./eventlog/mod.ts";
import { appraiseIma } from "./ima/mod.ts";
import { checkedPolicy, type Policy, type Section, SECTIONS, sectionsOf } from "./policy/mod.ts";
import { appraiseSimulated } from "./simulated/mod.ts";
import { appraiseSnp, parseReport, type SnpCollateral, splitExtended } from "./snp/mod.ts";
import { appraiseTdx, parseTdxQuote, type TdxCollateral } from "./tdx/mod.ts";
import { appraiseAzureToken, appraiseGcpEndorsement } from "./token/mod.ts";
import {
  akReportData,
  appraiseTpm,
  type CredentialChallenge,
  decodeAttestation,
  evidenceOf,
  hclKey,
  parseHclReport,
  svsmReportData,
  type TpmEvidence,
} from "./tpm/mod.ts";
import { akBinding } from "./_ak.ts";
import { type Check, combine, type Verdict, verdictOf } from "./verdict.ts";

/** What a peer sent, by the policy's section that appraises it. All of it is hostile. */
export interface Evidence {
  /** Report, or report and certificate table. */
  readonly snp?: Uint8Array;
  /** Quote. */
  readonly tdx?: Uint8Array;
  /** Quotes with their values; see {@linkcode evidenceOfAttestation}. */
  readonly tpm?: TpmEvidence;
  /** TCG log or CCEL. */
  readonly eventLog?: Uint8Array;
  /** IMA list, binary or text. */
  readonly ima?: Uint8Array;
  /** Compact JWT. */
  readonly azureToken?: string;
  /** VMLaunchEndorsement. */
  readonly gcpEndorsement?: Uint8Array;
  readonly simulated?: Uint8Array;
  /** Parts that bind the TPM's key; they are judged with section `tpm`. */
  readonly hclReport?: Uint8Array;
  readonly svsmManifest?: Uint8Array;
  /** Whether the manifest is of the vTPM service alone. */
  readonly svsmSingle?: boolean;
  readonly akCertificate?: Uint8Array;
}

/** What the verifier itself chose or knows. */
export interface Session {
  /** Milliseconds since 1970 by the verifier's clock. */
  readonly now: number;
  /** 64 bytes; when absent and the policy says `session`, the way the TPM's key is bound gives it. */
  readonly reportData?: Uint8Array | undefined;
  /** 32 bytes, for us the manifest's digest. */
  readonly hostData?: Uint8Array | undefined;
  /** Nonce of the TPM quote and of the token. */
  readonly nonce?: Uint8Array | undefined;
  /** The 64 bytes the hardware report was asked with, for the bindings `report-data` and `svsm`. */
  readonly teeNonce?: Uint8Array | undefined;
  /** Expected `user-data` of an HCL report, 64 bytes. */
  readonly userData?: Uint8Array | undefined;
  /** For the binding `svsm`: a credential made for the keys, and what the TPM answered. */
  readonly credential?:
    | { readonly challenge: CredentialChallenge; readonly answer: Uint8Array }
    | undefined;
}

/** What comes from vendors' servers and caches; none of it is trusted. */
export interface Collateral {
  readonly snp?: SnpCollateral;
  readonly tdx?: TdxCollateral;
  /** Text of the key set of the issuer the policy names. */
  readonly azureKeySet?: string;
  /** DER of certificates above the attestation key's, roots included. */
  readonly akCertificates?: readonly Uint8Array[];
  readonly akCrls?: readonly Uint8Array[];
}

/** Parts that only speak with another: without a section of their own they are not looked at. */
const SUPPLEMENTS: readonly Section[] = ["eventLog", "ima", "gcpEndorsement"];

/** The sections evidence is there for. */
export function kindsOf(evidence: Evidence): readonly Section[] {
  return SECTIONS.filter((name) => evidence[name] !== undefined);
}

/**
 * Appraises all evidence under a policy. Never throws for what evidence, collateral or session are.
 *
 * @returns One verdict over the checks of all sections; good only when every section's is.
 */
export async function appraise(
  policy: Policy,
  evidence: Evidence,
  session: Session,
  collateral: Collateral = {},
): Promise<Verdict> {
  const due = sectionsOf(policy);
  const given = kindsOf(evidence);
  const kinds = kindsCheck(policy, due, given);
  const verdicts: Verdict[] = [verdictOf("evidence", [kinds], {})];
  if (!kinds.ok) return combine("evidence", verdicts);

  const expected = {
    ...session,
    reportData: session.reportData ?? derivedReportData(policy, evidence, session),
  };
  const hardware = await appraiseHardware(policy, evidence, expected, collateral);
  if (hardware !== undefined) verdicts.push(hardware);
  const good = hardware?.ok === true;
  const tpm = policy.tpm && evidence.tpm
    ? await appraiseTpm(evidence.tpm, policy.tpm, {
      nonce: session.nonce,
      binding: await akBinding(
        policy.tpm,
        evidence,
        session,
        collateral,
        good ? hardwareOf(evidence) : undefined,
      ),
    })
    : undefined;
  if (tpm !== undefined) verdicts.push(tpm.verdict);
  const registers: BankValues = tpm?.registers ?? new Map();
  if (policy.eventLog && evidence.eventLog) {
    const trusted = policy.eventLog.kind === "ccel"
      ? rtmrs(good ? evidence.tdx : undefined)
      : registers;
    verdicts.push((await appraiseEventLog(evidence.eventLog, policy.eventLog, trusted)).verdict);
  }
  if (policy.ima && evidence.ima) {
    verdicts.push((await appraiseIma(evidence.ima, policy.ima, { registers })).verdict);
  }
  if (policy.azureToken && evidence.azureToken !== undefined) {
    verdicts.push(
      await appraiseAzureToken(evidence.azureToken, policy.azureToken, {
        now: session.now,
        nonce: session.nonce,
        keySet: collateral.azureKeySet ?? "",
      }),
    );
  }
  if (policy.gcpEndorsement && evidence.gcpEndorsement) {
    const measured = good ? hardwareOf(evidence) : undefined;
    verdicts.push(
      await appraiseGcpEndorsement(evidence.gcpEndorsement, policy.gcpEndorsement, {
        now: session.now,
        measurement: measured?.measurement ?? new Uint8Array(),
        technology: measured?.technology ?? "snp",
      }),
    );
  }
  return combine("evidence", verdicts);
}

function kindsCheck(policy: Policy, due: readonly Section[], given: readonly Section[]): Check {
  const remedy = "The policy says which evidence counts; send that, and no other.";
  try {
    checkedPolicy(policy); // one made by a program need not have gone through the parser
  } catch (error) {
    const actual = messageOf(error);
    return { id: "evidence.kinds", ok: false, expected: "a policy that can hold", actual, remedy };
  }
  const ignored = given.filter((name) => SUPPLEMENTS.includes(name) && !due.includes(name));
  const judged = given.filter((name) => !ignored.includes(name));
  const extra = ignored.length === 0 ? "" : ` (not looked at: ${ignored.join(", ")})`;
  return {
    id: "evidence.kinds",
    ok: due.length > 0 && due.join() === judged.join(),
    expected: due.join(", ") || "(the policy has no section)",
    actual: (judged.join(", ") || "none") + extra,
    remedy,
  };
}

async function appraiseHardware(
  policy: Policy,
  evidence: Evidence,
  { now, reportData, hostData }: Session,
  collateral: Collateral,
): Promise<Verdict | undefined> {
  if (policy.snp && evidence.snp) {
    return await appraiseSnp(evidence.snp, policy.snp, {
      now,
      reportData,
      hostData,
      collateral: collateral.snp,
    });
  }
  if (policy.tdx && evidence.tdx) {
    return await appraiseTdx(evidence.tdx, policy.tdx, {
      now,
      reportData,
      collateral: collateral.tdx,
    });
  }
  if (policy.simulated && evidence.simulated) {
    return await appraiseSimulated(evidence.simulated, policy.simulated, { reportData, hostData });
  }
  return undefined;
}

/** What a *verified* hardware report says. */
export interface VerifiedHardware {
  readonly technology: "snp" | "tdx";
  readonly measurement: Uint8Array;
  readonly reportData: Uint8Array;
  /** 0 for TDX. */
  readonly vmpl: number;
}

/** Only called for evidence whose verdict was good. */
function hardwareOf({ snp, tdx }: Evidence): VerifiedHardware | undefined {
  if (snp !== undefined) {
    const { measurement, reportData, vmpl } = parseReport(splitExtended(snp).report);
    return { technology: "snp", measurement, reportData, vmpl };
  }
  if (tdx === undefined) return undefined;
  const { body } = parseTdxQuote(tdx);
  return { technology: "tdx", measurement: body.mrTd, reportData: body.reportData, vmpl: 0 };
}

function rtmrs(tdx: Uint8Array | undefined): BankValues {
  if (tdx === undefined) return new Map();
  return new Map([[
    "sha384",
    new Map(parseTdxQuote(tdx).body.rtmrs.map((value, index) => [index, value])),
  ]]);
}

/**
 * REPORT_DATA as the binding of the TPM's key makes it. Freshness then comes from the nonce of the
 * quote (`hcl`) or from `teeNonce`; `undefined` where the policy binds no key by it.
 */
function derivedReportData(
  policy: Policy,
  evidence: Evidence,
  session: Session,
): Uint8Array | undefined {
  try {
    const { teeNonce } = session;
    switch (policy.tpm?.binding) {
      case "report-data": {
        const ak = evidence.tpm?.ak;
        if (teeNonce?.length !== 64 || ak === undefined || !("area" in ak)) return undefined;
        return akReportData(teeNonce, ak.area);
      }
      case "svsm":
        if (teeNonce?.length !== 64 || evidence.svsmManifest === undefined) return undefined;
        return svsmReportData(teeNonce, evidence.svsmManifest);
      case "hcl":
        return evidence.hclReport === undefined
          ? undefined
          : parseHclReport(evidence.hclReport).reportData;
      default:
        return undefined;
    }
  } catch {
    return undefined; // unreadable parts: the check of REPORT_DATA then fails for want of a value
  }
}

/**
 * Takes the seed era's evidence file apart (SNP with vTPM, Azure): report, certificates, quotes, log.
 *
 * @throws {CocosError} `invalid-argument`.
 */
export function evidenceOfAttestation(
  bytes: Uint8Array,
): { evidence: Evidence; collateral: Collateral } {
  const file = decodeAttestation(bytes);
  const { snp, tdx } = file;
  return {
    evidence: {
      tpm: evidenceOf(file),
      ...(file.eventLog.length === 0 ? {} : { eventLog: file.eventLog }),
      ...(snp === undefined ? {} : { snp: snp.report }),
      ...(tdx === undefined ? {} : { tdx }),
      ...(file.akCertificate.length === 0 ? {} : { akCertificate: file.akCertificate }),
    },
    collateral: {
      ...(snp === undefined ? {} : {
        snp: { leaf: snp.vcek ?? snp.vlek, intermediate: snp.ask, root: snp.ark },
      }),
      akCertificates: file.intermediates,
    },
  };
}

/** TPM evidence of Azure, whose key is named by the HCL report. */
export function evidenceOfAzure(quotes: TpmEvidence["quotes"], hclReport: Uint8Array): TpmEvidence {
  return { ak: { key: hclKey(hclReport) }, quotes };
}
