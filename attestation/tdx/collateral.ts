// Intel's statements about platforms: TCB info version 3 and QE identity version 2 (Intel PCS API v4).
// They come from a server or a cache: only what Intel's key signed, byte for byte, counts.
import { CocosError } from "../../base/mod.ts";
import { Fields, type Json, parseJson, sliceOf } from "../json.ts";

/** Collateral of one platform; none of it is trusted before it is verified. */
export interface TdxCollateral {
  /** The text of the inner `tcbInfo` object exactly as sent. */
  readonly tcbInfo: string;
  /** Hex of r ‖ s. */
  readonly tcbInfoSignature: string;
  /** PEM: signing certificate, root. */
  readonly tcbInfoChain: string;
  /** The text of the inner `enclaveIdentity` object exactly as sent. */
  readonly qeIdentity: string;
  readonly qeIdentitySignature: string;
  readonly qeIdentityChain: string;
  /** DER of the root's list. */
  readonly rootCrl: Uint8Array;
  /** DER of the list of the CA that issued the PCK certificate. */
  readonly pckCrl: Uint8Array;
}

/** The words of Intel for a TCB level, worst first. */
export const TCB_STATUSES = [
  "Revoked",
  "OutOfDateConfigurationNeeded",
  "OutOfDate",
  "ConfigurationAndSWHardeningNeeded",
  "ConfigurationNeeded",
  "SWHardeningNeeded",
  "UpToDate",
] as const;

/** One of them. */
export type TcbStatus = (typeof TCB_STATUSES)[number];

/** What a level says. */
export interface Level {
  readonly status: TcbStatus;
  /** Milliseconds since 1970. */
  readonly date: number;
  readonly advisories: readonly string[];
}

/** A level of the quoting enclave or of the TDX module. */
export interface SvnLevel extends Level {
  readonly isvSvn: number;
}

/** A level of the platform. */
export interface PlatformLevel extends Level {
  readonly sgx: readonly number[];
  readonly tdx: readonly number[];
  readonly pceSvn: number;
}

/** A TDX module Intel signed. */
export interface ModuleIdentity {
  /** `TDX_01`; empty for the module of version 1.0. */
  readonly id: string;
  readonly mrSigner: string;
  readonly attributes: string;
  readonly attributesMask: string;
  readonly levels: readonly SvnLevel[];
}

/** Common head of both statements. */
export interface Statement {
  readonly id: string;
  readonly issueDate: number;
  readonly nextUpdate: number;
  readonly evaluation: number;
}

/** TCB info. */
export interface TcbInfo extends Statement {
  readonly fmspc: string;
  readonly pceId: string;
  readonly module: ModuleIdentity;
  readonly modules: readonly ModuleIdentity[];
  readonly levels: readonly PlatformLevel[];
}

/** QE identity. */
export interface QeIdentity extends Statement {
  readonly miscSelect: string;
  readonly miscSelectMask: string;
  readonly attributes: string;
  readonly attributesMask: string;
  readonly mrSigner: string;
  readonly isvProdId: number;
  readonly levels: readonly SvnLevel[];
}

const MAX_LEVELS = 256;

/** Parses the text of a `tcbInfo` object; only `id` TDX and version 3 are taken. */
export function parseTcbInfo(text: string): TcbInfo {
  const what = "a TCB info";
  const fields = new Fields(parseJson(text, what), what);
  const head = statement(fields, "TDX", 3);
  if (fields.required("tcbType", fields.integer("tcbType", 0, 255)) !== 0) {
    throw fields.fault("tcbType", "must be 0");
  }
  const module = fields.required("tdxModule", fields.object("tdxModule"));
  const identities = fields.array("tdxModuleIdentities") ?? [];
  return Object.freeze({
    ...head,
    fmspc: hex(fields, "fmspc", 6),
    pceId: hex(fields, "pceId", 2),
    module: moduleIdentity(module, "", []),
    modules: Object.freeze(
      limited(identities, fields, "tdxModuleIdentities").map((json) => {
        const each = new Fields(json, what, "tdxModuleIdentities");
        return moduleIdentity(each, required(each, "id"), svnLevels(each, what));
      }),
    ),
    levels: Object.freeze(
      levelList(fields).map((json) => {
        const each = new Fields(json, what, "tcbLevels");
        const tcb = each.required("tcb", each.object("tcb"));
        return Object.freeze({
          ...level(each),
          sgx: components(tcb, "sgxtcbcomponents", what),
          tdx: components(tcb, "tdxtcbcomponents", what),
          pceSvn: tcb.required("pcesvn", tcb.integer("pcesvn", 0, 65535)),
        });
      }),
    ),
  });
}

/** Parses the text of an `enclaveIdentity` object; only `id` TD_QE and version 2 are taken. */
export function parseQeIdentity(text: string): QeIdentity {
  const what = "a QE identity";
  const fields = new Fields(parseJson(text, what), what);
  return Object.freeze({
    ...statement(fields, "TD_QE", 2),
    miscSelect: hex(fields, "miscselect", 4),
    miscSelectMask: hex(fields, "miscselectMask", 4),
    attributes: hex(fields, "attributes", 16),
    attributesMask: hex(fields, "attributesMask", 16),
    mrSigner: hex(fields, "mrsigner", 32),
    isvProdId: fields.required("isvprodid", fields.integer("isvprodid", 0, 65535)),
    levels: svnLevels(fields, what),
  });
}

/**
 * Splits an answer of Intel's server (`{"tcbInfo":{…},"signature":"…"}`) without re-writing it.
 *
 * @throws {CocosError} `invalid-argument`.
 */
export function splitSigned(
  text: string,
  name: "tcbInfo" | "enclaveIdentity",
): { readonly json: string; readonly signature: string } {
  const what = `an answer with ${name}`;
  const fields = new Fields(parseJson(text, what), what);
  const inner = fields.required(name, fields.get(name));
  const signature = required(fields, "signature");
  fields.end();
  return Object.freeze({ json: sliceOf(text, inner), signature });
}

function statement(fields: Fields, id: string, version: number): Statement {
  if (required(fields, "id") !== id) throw fields.fault("id", `must be ${id}`);
  if (fields.integer("version", 0, 1000) !== version) {
    throw fields.fault("version", `must be ${version}`);
  }
  return {
    id,
    issueDate: date(fields, "issueDate"),
    nextUpdate: date(fields, "nextUpdate"),
    evaluation: fields.required(
      "tcbEvaluationDataNumber",
      fields.integer("tcbEvaluationDataNumber", 0, 1e6),
    ),
  };
}

function moduleIdentity(fields: Fields, id: string, levels: readonly SvnLevel[]): ModuleIdentity {
  return Object.freeze({
    id,
    mrSigner: hex(fields, "mrsigner", 48),
    attributes: hex(fields, "attributes", 8),
    attributesMask: hex(fields, "attributesMask", 8),
    levels,
  });
}

function svnLevels(fields: Fields, what: string): readonly SvnLevel[] {
  return Object.freeze(
    levelList(fields).map((json) => {
      const each = new Fields(json, what, "tcbLevels");
      const tcb = each.required("tcb", each.object("tcb"));
      const isvSvn = tcb.required("isvsvn", tcb.integer("isvsvn", 0, 65535));
      return Object.freeze({ ...level(each), isvSvn });
    }),
  );
}

function levelList(fields: Fields): readonly Json[] {
  return limited(fields.required("tcbLevels", fields.array("tcbLevels")), fields, "tcbLevels");
}

function limited(list: readonly Json[], fields: Fields, name: string): readonly Json[] {
  if (list.length > MAX_LEVELS) throw fields.fault(name, `has more than ${MAX_LEVELS} items`);
  return list;
}

function level(fields: Fields): Level {
  const word = required(fields, "tcbStatus");
  const status = TCB_STATUSES.find((each) => each === word);
  if (status === undefined) throw fields.fault("tcbStatus", "is no known status");
  const advisories = limited(fields.array("advisoryIDs") ?? [], fields, "advisoryIDs").map(
    (json) => {
      if (json.kind !== "string") throw fields.fault("advisoryIDs", "must be a list of texts");
      return json.value as string;
    },
  );
  return { status, date: date(fields, "tcbDate"), advisories: Object.freeze(advisories) };
}

function components(tcb: Fields, name: string, what: string): readonly number[] {
  const list = tcb.required(name, tcb.array(name));
  if (list.length !== 16) throw tcb.fault(name, `has ${list.length} items, 16 are due`);
  return Object.freeze(list.map((json) => {
    const each = new Fields(json, what, name);
    return each.required("svn", each.integer("svn", 0, 255));
  }));
}

function required(fields: Fields, name: string): string {
  return fields.required(name, fields.string(name));
}

function hex(fields: Fields, name: string, bytes: number): string {
  const text = required(fields, name).toLowerCase();
  if (text.length !== 2 * bytes || !/^[0-9a-f]*$/.test(text)) {
    throw fields.fault(name, `must be hex of ${bytes} bytes`);
  }
  return text;
}

function date(fields: Fields, name: string): number {
  const text = required(fields, name);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text)) throw fields.fault(name, "must be a time");
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw fields.fault(name, "must be a time that exists");
  return ms;
}

/** Bytes of hex that a signature field holds. */
export function signatureBytes(text: string): Uint8Array {
  if (!/^[0-9a-fA-F]{128}$/.test(text)) {
    throw new CocosError("invalid-argument", "Cannot read a signature: hex of 64 bytes is due");
  }
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
