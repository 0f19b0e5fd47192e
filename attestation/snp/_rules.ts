// The comparisons of a parsed SNP report with a policy, one line each (AMD 56860; go-sev-guest's
// `validate` and more). The report's signature is checked elsewhere; here its words are weighed.
import { atLeast, bound, flag, oneOf, type Rule } from "../rules.ts";
import { ANY, NOT_SET, toHex } from "../verdict.ts";
import type { LeafExtensions } from "./certificates.ts";
import type { SnpPolicy } from "./policy.ts";
import type { FirmwareVersion, SnpReport } from "./report.ts";
import { type Tcb, tcbAtLeast, tcbText } from "./tcb.ts";

/** What a session adds to a policy. */
export interface SnpSession {
  /** Verifier's time, milliseconds since 1970. */
  readonly now: number;
  /** Expected REPORT_DATA, hex of 64 bytes. */
  readonly reportData: string | undefined;
  /** Expected HOST_DATA, hex of 32 bytes. */
  readonly hostData: string | undefined;
}

/** A report with its decoded TCBs. */
export interface Judged {
  readonly report: SnpReport;
  readonly leaf: LeafExtensions;
  readonly reported: Tcb;
  readonly current: Tcb;
  readonly committed: Tcb;
  readonly launch: Tcb;
}

const MEASURED =
  "Compute the measurement of the image you trust and set it; if it is right, this is another image.";
const LAUNCH = "Launch the guest with another guest policy, or say so in yours.";
const HOST = "Ask the host's operator for another firmware setting, or say so in the policy.";
const UPDATE = "Update the host's firmware and let it commit, or lower the minimum with open eyes.";

function version(text: string): readonly [number, number] {
  const [major, minor] = /^(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1).map(Number) ?? [];
  return [major ?? Infinity, minor ?? Infinity];
}

function versionAtLeast(major: number, minor: number, minimum: string): boolean {
  const [wantedMajor, wantedMinor] = version(minimum);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

function firmwareText({ major, minor, build }: FirmwareVersion): string {
  return `${major}.${minor} build ${build}`;
}

function tcbRule<Id extends string>(
  id: Id,
  kind: "reported" | "current" | "committed" | "launch",
): Rule<Id, SnpPolicy, Judged, SnpSession> {
  return {
    id,
    expected: (policy) => {
      const minimum = policy.tcb?.[kind];
      if (minimum === undefined) return NOT_SET;
      const { grace } = policy.tcb;
      const text = `at least ${tcbText(minimum)}`;
      return kind !== "reported" || grace === undefined
        ? text
        : `${text}; until ${new Date(grace.until).toISOString()} also ${tcbText(grace.reported)}`;
    },
    actual: (judged) => tcbText(judged[kind]),
    holds: (policy, judged, { now }) => {
      const minimum = policy.tcb?.[kind];
      if (minimum === undefined) return false;
      if (tcbAtLeast(judged[kind], minimum)) return true;
      const { grace } = policy.tcb;
      return kind === "reported" && grace !== undefined && now <= grace.until &&
        tcbAtLeast(judged.reported, grace.reported);
    },
    remedy: UPDATE,
  };
}

function mitigationRule<Id extends string>(
  id: Id,
  kind: "launch" | "current",
): Rule<Id, SnpPolicy, Judged, SnpSession> {
  const actual = ({ report }: Judged) =>
    kind === "launch" ? report.launchMitigations : report.currentMitigations;
  return {
    id,
    expected: (policy) => {
      const wanted = policy.mitigations?.[kind];
      return wanted === undefined ? NOT_SET : wanted === ANY ? ANY : `all bits of ${wanted}`;
    },
    actual: (judged) =>
      judged.report.version < 5
        ? `none: a version ${judged.report.version} report has no mitigation vector`
        : actual(judged).toString(16).padStart(16, "0"),
    holds: (policy, judged) => {
      const wanted = policy.mitigations?.[kind];
      if (wanted === ANY) return true;
      if (wanted === undefined || !/^[0-9a-f]{1,16}$/.test(wanted)) return false;
      const bits = BigInt(`0x${wanted}`);
      return judged.report.version >= 5 && (actual(judged) & bits) === bits;
    },
    remedy: UPDATE,
  };
}

/** All comparisons, in the order they are shown. */
export const SNP_RULES = [
  bound(
    "snp.report-data",
    (p) => p.reportData,
    (s) => s.reportData,
    (e) => toHex(e.report.reportData),
    "The evidence is not for this session: ask for fresh evidence over your nonce.",
  ),
  oneOf("snp.measurement", (p) => p.measurement, (e) => toHex(e.report.measurement), MEASURED),
  bound(
    "snp.host-data",
    (p) => p.hostData,
    (s) => s.hostData,
    (e) => toHex(e.report.hostData),
    "The guest was launched with other host data (for us: another manifest digest).",
  ),
  oneOf("snp.family-id", (p) => p.familyId, (e) => toHex(e.report.familyId), LAUNCH),
  oneOf("snp.image-id", (p) => p.imageId, (e) => toHex(e.report.imageId), LAUNCH),
  oneOf(
    "snp.report-id",
    (p) => p.reportId,
    (e) => toHex(e.report.reportId),
    "A report id is new with each boot: this is another guest.",
  ),
  oneOf(
    "snp.report-id-ma",
    (p) => p.reportIdMa,
    (e) => toHex(e.report.reportIdMa),
    "A migration agent is bound to this guest; accept its report id only if you trust it.",
  ),
  oneOf(
    "snp.chip-id",
    (p) => p.chipId,
    (e) => toHex(e.report.chipId),
    "This is another machine than the ones the policy names.",
  ),
  oneOf(
    "snp.vmpl",
    (p) => p.vmpl === ANY ? ANY : p.vmpl?.map(String),
    (e) => String(e.report.vmpl),
    "Under an SVSM the guest runs at VMPL 2, without one at 0: name the level you mean.",
  ),
  atLeast("snp.guest-svn", (p) => p.minimumGuestSvn, (e) => e.report.guestSvn, LAUNCH),
  {
    id: "snp.guest.abi",
    expected: (p) => p.guest?.minimumAbi === undefined ? NOT_SET : `at least ${p.guest.minimumAbi}`,
    actual: ({ report: { policy } }) => `${policy.abiMajor}.${policy.abiMinor}`,
    holds: (p, { report: { policy } }) =>
      p.guest?.minimumAbi !== undefined &&
      versionAtLeast(policy.abiMajor, policy.abiMinor, p.guest.minimumAbi),
    remedy: LAUNCH,
  },
  flag(
    "snp.guest.debug",
    (p) => p.guest?.debug,
    (e) => e.report.policy.debug,
    "A debug guest can be read by its host: launch it without debug.",
  ),
  flag("snp.guest.migration", (p) => p.guest?.migration, (e) => e.report.policy.migration, LAUNCH),
  flag("snp.guest.smt", (p) => p.guest?.smt, (e) => e.report.policy.smt, LAUNCH),
  flag("snp.guest.cxl", (p) => p.guest?.cxl, (e) => e.report.policy.cxl, LAUNCH),
  flag(
    "snp.guest.single-socket",
    (p) => p.guest?.singleSocket,
    (e) => e.report.policy.singleSocket,
    LAUNCH,
  ),
  flag(
    "snp.guest.aes-256-xts",
    (p) => p.guest?.aes256Xts,
    (e) => e.report.policy.aes256Xts,
    LAUNCH,
  ),
  flag("snp.guest.rapl-off", (p) => p.guest?.raplOff, (e) => e.report.policy.raplOff, LAUNCH),
  flag(
    "snp.guest.ciphertext-hiding",
    (p) => p.guest?.ciphertextHiding,
    (e) => e.report.policy.ciphertextHiding,
    LAUNCH,
  ),
  flag(
    "snp.guest.page-swap-off",
    (p) => p.guest?.pageSwapOff,
    (e) => e.report.policy.pageSwapOff,
    LAUNCH,
  ),
  flag("snp.platform.smt", (p) => p.platform?.smt, (e) => e.report.platform.smt, HOST),
  flag("snp.platform.tsme", (p) => p.platform?.tsme, (e) => e.report.platform.tsme, HOST),
  flag("snp.platform.ecc", (p) => p.platform?.ecc, (e) => e.report.platform.ecc, HOST),
  flag("snp.platform.rapl-off", (p) => p.platform?.raplOff, (e) => e.report.platform.raplOff, HOST),
  flag(
    "snp.platform.ciphertext-hiding",
    (p) => p.platform?.ciphertextHiding,
    (e) => e.report.platform.ciphertextHiding,
    HOST,
  ),
  flag(
    "snp.platform.alias-check",
    (p) => p.platform?.aliasCheck,
    (e) => e.report.platform.aliasCheck,
    "The firmware did not check memory for aliases (BadRAM): the host needs newer firmware.",
  ),
  flag("snp.platform.tio", (p) => p.platform?.tio, (e) => e.report.platform.tio, HOST),
  flag(
    "snp.platform.unknown",
    (p) => p.platform?.unknown,
    (e) => e.report.platform.unknown !== 0n,
    "The platform sets bits this program does not know: update the program.",
  ),
  {
    id: "snp.firmware.version",
    expected: (p) =>
      p.firmware?.minimumVersion === undefined ? NOT_SET : `at least ${p.firmware.minimumVersion}`,
    actual: (e) => firmwareText(e.report.currentVersion),
    holds: (p, { report: { currentVersion: { major, minor } } }) =>
      p.firmware?.minimumVersion !== undefined &&
      versionAtLeast(major, minor, p.firmware.minimumVersion),
    remedy: UPDATE,
  },
  atLeast(
    "snp.firmware.build",
    (p) => p.firmware?.minimumBuild,
    (e) => e.report.currentVersion.build,
    UPDATE,
  ),
  {
    id: "snp.firmware.committed",
    expected: (p) => {
      const word = p.firmware?.provisional;
      return word === undefined
        ? NOT_SET
        : word === ANY
        ? "committed firmware not above the current"
        : "committed firmware and TCB equal to the current";
    },
    actual: ({ report, committed, current }) =>
      `committed ${firmwareText(report.committedVersion)} (${tcbText(committed)}), ` +
      `current ${firmwareText(report.currentVersion)} (${tcbText(current)})`,
    holds: (p, { report, committed, current }) => {
      const order = (v: FirmwareVersion) => v.major * 65536 + v.minor * 256 + v.build;
      const behind = order(report.currentVersion) - order(report.committedVersion);
      const word = p.firmware?.provisional;
      if (word === ANY) return behind >= 0 && tcbAtLeast(current, committed);
      return word === "off" && behind === 0 && tcbText(committed) === tcbText(current);
    },
    remedy: "The host can still roll its firmware back: ask the operator to commit it.",
  },
  {
    id: "snp.tcb.order",
    expected: () => "reported and launch TCB not above the current one",
    actual: ({ reported, launch, current }) =>
      `reported ${tcbText(reported)}; launch ${tcbText(launch)}; current ${tcbText(current)}`,
    holds: (_p, { reported, launch, current }) =>
      tcbAtLeast(current, reported) && tcbAtLeast(current, launch),
    remedy: UPDATE,
  },
  tcbRule("snp.tcb.reported", "reported"),
  tcbRule("snp.tcb.current", "current"),
  tcbRule("snp.tcb.committed", "committed"),
  tcbRule("snp.tcb.launch", "launch"),
  mitigationRule("snp.mitigations.launch", "launch"),
  mitigationRule("snp.mitigations.current", "current"),
  {
    id: "snp.id-block",
    expected: ({ idBlock }) => {
      if (idBlock === undefined) return NOT_SET;
      if (typeof idBlock === "string") return idBlock;
      const { idKeys, authorKeys } = idBlock;
      const texts = [
        ...idKeys.map((each) => `id key ${each}`),
        ...authorKeys.map((each) => `author key ${each}`),
      ];
      return texts.length === 0 ? NOT_SET : texts.join(" or ");
    },
    actual: ({ report }) =>
      `id key ${toHex(report.idKeyDigest)}, author key ${toHex(report.authorKeyDigest)}`,
    holds: ({ idBlock }, { report }) => {
      const id = toHex(report.idKeyDigest);
      const author = toHex(report.authorKeyDigest);
      if (idBlock === ANY) return true;
      if (idBlock === "none") return /^0+$/.test(id + author);
      return (idBlock?.idKeys.includes(id) ?? false) ||
        (report.authorKeyEnabled && (idBlock?.authorKeys.includes(author) ?? false));
    },
    remedy:
      "The guest was launched under another ID block: name the digest of its key, or refuse it.",
  },
  flag("snp.author-key", (p) => p.authorKey, (e) => e.report.authorKeyEnabled, LAUNCH),
] as const satisfies readonly Rule<string, SnpPolicy, Judged, SnpSession>[];
