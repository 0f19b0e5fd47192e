// The sections of a policy file, one table per technology: the file's names are the names of the
// typed policies, defaults are the strict ones. Nothing weak is ever a default.
import { ANY, type OrAny } from "../verdict.ts";
import { type SimulatedPolicy, simulatedPolicy } from "../simulated/mod.ts";
import {
  PRODUCT_LINES,
  SNP_DEFAULTS,
  type SnpPolicy,
  snpPolicy,
  type SnpTrustedKeys,
} from "../snp/mod.ts";
import { TCB_STATUSES, TDX_DEFAULTS, type TdxPolicy, type TdxTcbPolicy } from "../tdx/mod.ts";
import {
  type AzureTokenPolicy,
  azureTokenPolicy,
  type GcpEndorsementPolicy,
} from "../token/mod.ts";
import type { EventLogPolicy } from "../eventlog/mod.ts";
import { FILE_HASHES, type ImaAllowList, type ImaPolicy, isDigestText } from "../ima/mod.ts";
import { AK_BINDINGS, type PcrExpectations, type TpmPolicy } from "../tpm/mod.ts";
import {
  boundHex,
  FLAG,
  type Form,
  hex,
  list,
  map,
  may,
  must,
  orAny,
  pattern,
  record,
  TIME,
  TRUE,
  VERSION,
  whole,
  word,
  wrong,
} from "./_schema.ts";

const byte = whole(0, 255);
const hexes = (bytes: number): Form<OrAny<readonly string[]>> => orAny(list(hex(bytes)));

const TCB = record({
  fmc: may(byte, 0),
  bootloader: may(byte, 0),
  tee: may(byte, 0),
  snp: may(byte, 0),
  microcode: may(byte, 0),
});

const mitigation: Form<OrAny<string>> = orAny(pattern(/^[0-9a-f]{1,16}$/, "hex of up to 8 bytes"));
const { guest, platform, firmware } = SNP_DEFAULTS;

const snpRecord = record({
  products: must(list(word(PRODUCT_LINES))),
  steppings: may<OrAny<readonly number[]>>(orAny(list(whole(0, 15))), ANY),
  signers: may<readonly ("vcek" | "vlek")[]>(
    list(word(["vcek", "vlek"])),
    SNP_DEFAULTS.signers as ["vcek"],
  ),
  roots: may<readonly string[]>(list(hex(48)), SNP_DEFAULTS.roots),
  revocation: may<OrAny<"required">>(word(["required", ANY]), "required"),
  measurement: must(hexes(48)),
  reportData: may(boundHex(64), SNP_DEFAULTS.reportData),
  hostData: may(boundHex(32), SNP_DEFAULTS.hostData),
  familyId: may(hexes(16), ANY),
  imageId: may(hexes(16), ANY),
  reportId: may(hexes(32), ANY),
  reportIdMa: may<OrAny<readonly string[]>>(hexes(32), SNP_DEFAULTS.reportIdMa),
  chipId: may(hexes(64), ANY),
  idBlock: may<SnpPolicy["idBlock"]>(idBlockForm(), ANY),
  authorKey: may(FLAG, ANY),
  vmpl: may<OrAny<readonly number[]>>(orAny(list(whole(0, 3))), SNP_DEFAULTS.vmpl),
  minimumGuestSvn: may(whole(0, 2 ** 32 - 1), 0),
  guest: may(
    record({
      minimumAbi: may(VERSION, guest.minimumAbi),
      debug: may(FLAG, guest.debug),
      migration: may(FLAG, guest.migration),
      smt: may(FLAG, guest.smt),
      cxl: may(FLAG, guest.cxl),
      singleSocket: may(FLAG, guest.singleSocket),
      aes256Xts: may(FLAG, guest.aes256Xts),
      raplOff: may(FLAG, guest.raplOff),
      ciphertextHiding: may(FLAG, guest.ciphertextHiding),
      pageSwapOff: may(FLAG, guest.pageSwapOff),
    }),
    guest,
  ),
  platform: may(
    record({
      smt: may(FLAG, platform.smt),
      tsme: may(FLAG, platform.tsme),
      ecc: may(FLAG, platform.ecc),
      raplOff: may(FLAG, platform.raplOff),
      ciphertextHiding: may(FLAG, platform.ciphertextHiding),
      aliasCheck: may(FLAG, platform.aliasCheck),
      tio: may(FLAG, platform.tio),
      unknown: may<"off" | typeof ANY>(word(["off", ANY]), platform.unknown as "off"),
    }),
    platform as SnpPolicy["platform"],
  ),
  firmware: may(
    record({
      minimumVersion: may(VERSION, firmware.minimumVersion),
      minimumBuild: may(byte, firmware.minimumBuild),
      provisional: may<"off" | typeof ANY>(word(["off", ANY]), firmware.provisional as "off"),
    }),
    firmware as SnpPolicy["firmware"],
  ),
  tcb: must(record({
    reported: must(TCB),
    current: may(TCB, undefined as never),
    committed: may(TCB, undefined as never),
    launch: may(TCB, undefined as never),
    grace: may(record({ reported: must(TCB), until: must(TIME) }), undefined as never),
  })),
  mitigations: may(
    record({ launch: may(mitigation, ANY), current: may(mitigation, ANY) }),
    SNP_DEFAULTS.mitigations as SnpPolicy["mitigations"],
  ),
});

function idBlockForm(): Form<SnpPolicy["idBlock"]> {
  const keys = record({ idKeys: may(list(hex(48), 0), []), authorKeys: may(list(hex(48), 0), []) });
  return {
    read: (json, path) => {
      if (json.kind === "string" && (json.value === ANY || json.value === "none")) {
        return json.value;
      }
      const value: SnpTrustedKeys = keys.read(json, path);
      if (value.idKeys.length + value.authorKeys.length === 0) {
        throw wrong(json, path, "must name a key, or be none or any");
      }
      return value;
    },
    write: (value) => typeof value === "string" ? value : keys.write(value),
  };
}

/** Section `snp`. */
export const SNP_SECTION: Form<SnpPolicy> = {
  read: (json, path) => snpPolicy(snpRecord.read(json, path)),
  write: (value) => snpRecord.write(value as never),
};

const statuses = list(word(TCB_STATUSES));
const tdxRecord = record({
  roots: may<readonly string[]>(list(hex(48)), TDX_DEFAULTS.roots),
  qeVendor: may<OrAny<readonly string[]>>(hexes(16), TDX_DEFAULTS.qeVendor),
  mrTd: must(hexes(48)),
  rtmr0: must(hexes(48)),
  rtmr1: must(hexes(48)),
  rtmr2: must(hexes(48)),
  rtmr3: must(hexes(48)),
  reportData: may(boundHex(64), TDX_DEFAULTS.reportData),
  mrSeam: may(hexes(48), ANY),
  mrSignerSeam: may<OrAny<readonly string[]>>(hexes(48), TDX_DEFAULTS.mrSignerSeam),
  mrConfigId: may<OrAny<readonly string[]>>(hexes(48), TDX_DEFAULTS.mrConfigId),
  mrOwner: may<OrAny<readonly string[]>>(hexes(48), TDX_DEFAULTS.mrOwner),
  mrOwnerConfig: may<OrAny<readonly string[]>>(hexes(48), TDX_DEFAULTS.mrOwnerConfig),
  mrServiceTd: may<OrAny<readonly string[]>>(hexes(48), TDX_DEFAULTS.mrServiceTd),
  debug: may(FLAG, TDX_DEFAULTS.debug as "off"),
  tdAttributes: may(hexes(8), ANY),
  xfam: may(hexes(8), ANY),
  minimumTeeTcbSvn: may<OrAny<string>>(orAny(hex(16)), ANY),
  minimumQeSvn: may(whole(0, 65535), 0),
  minimumPceSvn: may(whole(0, 65535), 0),
  tcb: may(
    record({
      collateral: may<OrAny<"required">>(word(["required", ANY]), "required"),
      statuses: may<TdxTcbPolicy["statuses"]>(statuses, TDX_DEFAULTS.tcb.statuses as ["UpToDate"]),
      advisories: may<OrAny<readonly string[]>>(
        orAny(list(pattern(/^[A-Z0-9-]{1,64}$/, "an advisory such as INTEL-SA-00837"), 0)),
        [],
      ),
      minimumEvaluation: may(whole(0, 1e6), 0),
      grace: may(record({ statuses: must(statuses), until: must(TIME) }), undefined as never),
    }),
    TDX_DEFAULTS.tcb as never,
  ),
});

/** Section `tdx`. */
export const TDX_SECTION: Form<TdxPolicy> = {
  read: (json, path) => Object.freeze({ technology: "tdx", ...tdxRecord.read(json, path) }),
  write: (value) => tdxRecord.write(value as never),
};

const banks = word(["sha1", "sha256", "sha384", "sha512"]);
const registers = (bytes: number) =>
  map(/^(?:[01]?\d|2[0-3])$/, "registers are 0 to 23", list(hex(bytes)));
const pcrsRecord = record({
  sha1: may(registers(20), undefined as never),
  sha256: may(registers(32), undefined as never),
  sha384: may(registers(48), undefined as never),
  sha512: may(registers(64), undefined as never),
});
const pcrs: Form<PcrExpectations> = {
  read: (json, path) => {
    const value = pcrsRecord.read(json, path) as PcrExpectations;
    if (Object.values(value).every((each) => Object.keys(each ?? {}).length === 0)) {
      throw wrong(json, path, "must name a register, or be any");
    }
    return value;
  },
  write: (value) => pcrsRecord.write(value as never),
};
const tpmRecord = record({
  binding: must(word(AK_BINDINGS)),
  keys: may(list(hex(32)), undefined as never),
  roots: may(list(hex(48)), undefined as never),
  revocation: may<OrAny<"required">>(word(["required", ANY]), "required"),
  userData: may<"session" | typeof ANY>(word(["session", ANY]), ANY),
  nonce: may<"session" | typeof ANY>(word(["session", ANY]), "session"),
  banks: may<NonNullable<TpmPolicy["banks"]>>(list(banks), ["sha256"]),
  registers: must(list(whole(0, 23))),
  pcrs: must(orAny(pcrs)),
  counters: may<NonNullable<TpmPolicy["counters"]>>(
    orAny(
      record({
        resetCount: must(whole(0, 2 ** 32 - 1)),
        restartCount: must(whole(0, 2 ** 32 - 1)),
      }),
    ),
    ANY,
  ),
});

/** A TPM policy with the keys and roots its binding may need. */
export interface TpmSection extends TpmPolicy {
  /** SHA-256 of SubjectPublicKeyInfo of accepted attestation keys, for the binding `pinned`. */
  readonly keys?: readonly string[];
  /** SHA-384 of SubjectPublicKeyInfo of accepted roots, for the binding `certificate`. */
  readonly roots?: readonly string[];
  /** Whether certificates of attestation keys need current revocation lists. */
  readonly revocation: OrAny<"required">;
  /** Whether the `user-data` of an HCL report must be the session's, for the binding `hcl`. */
  readonly userData: OrAny<"session">;
}

/** Section `tpm`. */
export const TPM_SECTION: Form<TpmSection> = {
  read: (json, path) => {
    const value = tpmRecord.read(json, path) as TpmSection;
    if (value.binding === "pinned" && value.keys === undefined) {
      throw wrong(json, path, "needs keys for the binding pinned");
    }
    if (value.binding === "certificate" && value.roots === undefined) {
      throw wrong(json, path, "needs roots for the binding certificate");
    }
    return value;
  },
  write: (value) => tpmRecord.write(value as never),
};

const eventLogRecord = record({
  kind: must(word(["tcg", "ccel"])),
  banks: may<NonNullable<EventLogPolicy["banks"]>>(list(banks), undefined as never),
  registers: must(list(whole(0, 23))),
  secureBoot: may(FLAG, ANY),
});

/** Section `eventLog`. */
export const EVENT_LOG_SECTION: Form<EventLogPolicy> = {
  read: (json, path) => {
    const value = eventLogRecord.read(json, path);
    // RTMRs have no other bank than SHA-384.
    const usual = [value.kind === "ccel" ? "sha384" : "sha256"] as const;
    return Object.freeze({ ...value, banks: value.banks ?? usual });
  },
  write: (value) => eventLogRecord.write(value as never),
};

const fileDigest: Form<string> = {
  read: (json, path) => {
    const text = json.kind === "string" ? json.value as string : "";
    if (!isDigestText(text)) throw wrong(json, path, "must be a digest such as sha256:00ff…");
    return text;
  },
  write: (value) => value,
};
const allowRecord = record({
  files: may(map(/^\/.{0,4095}$|^boot_aggregate$/, "an absolute path", list(fileDigest)), {}),
  anywhere: may(list(fileDigest, 0), []),
  emptyFiles: may<"off" | "on">(word(["off", "on"]), "off"),
});
const allowList: Form<ImaAllowList> = {
  read: (json, path) => {
    const { files, anywhere, emptyFiles } = allowRecord.read(json, path);
    return Object.freeze({
      files: new Map(Object.entries(files).map(([name, digests]) => [name, new Set(digests)])),
      anywhere: new Set(anywhere),
      emptyFiles: emptyFiles === "on",
    });
  },
  write: ({ files, anywhere, emptyFiles }) =>
    allowRecord.write({
      files: Object.fromEntries([...files].map(([name, digests]) => [name, [...digests]])),
      anywhere: [...anywhere],
      emptyFiles: emptyFiles ? "on" : "off",
    }),
};
const imaRecord = record({
  banks: may<NonNullable<ImaPolicy["banks"]>>(list(banks), ["sha256"]),
  extend: may<NonNullable<ImaPolicy["extend"]>>(word(["own", "legacy-padded"]), "own"),
  tail: may<NonNullable<ImaPolicy["tail"]>>(word(["refuse", "ignore"]), "refuse"),
  violations: may<NonNullable<ImaPolicy["violations"]>>(word(["refuse", "allow"]), "refuse"),
  algorithms: may<OrAny<readonly string[]>>(
    orAny(list(word([...FILE_HASHES.keys()]))),
    ["sha256", "sha384", "sha512"],
  ),
  bootAggregate: may<OrAny<"required">>(word(["required", ANY]), "required"),
  allowed: must(orAny(allowList)),
});

/** Section `ima`. */
export const IMA_SECTION: Form<ImaPolicy> = {
  read: (json, path) => imaRecord.read(json, path),
  write: (value) => imaRecord.write(value as never),
};

const svn = whole(0, 2 ** 32 - 1);
const azureRecord = record({
  issuer: must(
    pattern(/^https:\/\/[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?$/, "an https address without path"),
  ),
  keys: must(hexes(32)),
  isolation: may<readonly ("sevsnpvm" | "tdxvm")[]>(list(word(["sevsnpvm", "tdxvm"])), [
    "sevsnpvm",
  ]),
  nonce: may(
    pattern(/^(?:session|any|(?:[0-9a-f]{2}){8,64})$/, "session, any, or hex of 8 to 64 bytes"),
    "session",
  ),
  audience: may<OrAny<readonly string[]>>(
    orAny(list(pattern(/^[\x21-\x7e]+$/, "printable text"))),
    ["none"],
  ),
  policyHash: may(orAny(list(pattern(/^[A-Za-z0-9_-]{43}$/, "base64url of 32 bytes"))), ANY),
  measurement: must(hexes(48)),
  hostData: may(
    orAny(list(pattern(/^(?:[0-9a-f]{64}|[0-9a-f]{96})$/, "hex of 32 or 48 bytes"))),
    ANY,
  ),
  debug: may(FLAG, "off"),
  migration: may(FLAG, "off"),
  secureBoot: may(FLAG, ANY),
  minimumGuestSvn: may(svn, 0),
  minimumBootloader: may(svn, 0),
  minimumTee: may(svn, 0),
  minimumSnp: may(svn, 0),
  minimumMicrocode: may(svn, 0),
  skewSeconds: may(whole(0, 300), 60),
  maximumAgeSeconds: may(whole(1, 86_400), 8 * 3600),
});

/** Section `azureToken`. */
export const AZURE_SECTION: Form<AzureTokenPolicy> = {
  read: (json, path) => azureTokenPolicy(azureRecord.read(json, path)),
  write: (value) => azureRecord.write(value as never),
};

const gcpRecord = record({
  roots: must(list(hex(48))),
  minimumSvn: may(svn, 0),
  firmware: may(hexes(48), ANY),
  vcpus: must(orAny(list(whole(1, 4096)))),
});

/** Section `gcpEndorsement`. */
export const GCP_SECTION: Form<GcpEndorsementPolicy> = {
  read: (json, path) =>
    Object.freeze({ technology: "gcp-endorsement", ...gcpRecord.read(json, path) }),
  write: (value) => gcpRecord.write(value as never),
};

const simulatedRecord = record({
  insecure: must(TRUE),
  roots: must(list(hex(32))),
  measurement: must(hexes(48)),
  reportData: may(boundHex(64), "session"),
  hostData: may(boundHex(32), ANY),
});

/** Section `simulated`. */
export const SIMULATED_SECTION: Form<SimulatedPolicy> = {
  read: (json, path) => simulatedPolicy(simulatedRecord.read(json, path)),
  write: (value) => simulatedRecord.write(value as never),
};
