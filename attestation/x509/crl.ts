// Certificate revocation lists (RFC 5280 §5), complete and direct ones only. They come from a
// collateral server that is not trusted; who signed them is checked by the caller.
import { CocosError } from "../../base/mod.ts";
import { toHex } from "../verdict.ts";
import {
  type Certificate,
  type Extension,
  type Name,
  Oid,
  parseAlgorithm,
  parseExtensions,
  parseName,
  serialOf,
  type SignatureAlgorithm,
} from "./certificate.ts";
import { bitsOf, Der, only, smallInteger, Tag, timeOf } from "./der.ts";

/** Largest list we read (Intel's are near 3 KiB, AMD's below 2). */
export const MAX_CRL_BYTES = 1024 * 1024;

/** A parsed list; nothing about it is verified. */
export interface RevocationList {
  readonly raw: Uint8Array;
  readonly tbs: Uint8Array;
  readonly algorithm: SignatureAlgorithm;
  readonly signature: Uint8Array;
  readonly issuer: Name;
  /** Milliseconds since 1970. */
  readonly thisUpdate: number;
  /** Milliseconds since 1970; a list without end is refused. */
  readonly nextUpdate: number;
  /** Serial numbers as lower-case hex of the INTEGER's content. */
  readonly revoked: ReadonlySet<string>;
  readonly extensions: ReadonlyMap<string, Extension>;
}

/**
 * Parses one DER list.
 *
 * @throws {CocosError} `invalid-argument` with the offset.
 */
export function parseCrl(bytes: Uint8Array, what = "a revocation list"): RevocationList {
  if (bytes.length > MAX_CRL_BYTES) {
    throw new CocosError(
      "too-large",
      `Cannot read ${what}: ${bytes.length} bytes are more than ${MAX_CRL_BYTES}`,
    );
  }
  const outer = new Der(only(bytes, Tag.SEQUENCE, what).content, what);
  const tbs = outer.next(Tag.SEQUENCE);
  const algorithm = outer.next(Tag.SEQUENCE);
  const signature = bitsOf(outer.next(Tag.BIT_STRING), what);
  outer.end();

  const body = new Der(tbs.content, what);
  const version = body.optional(Tag.INTEGER);
  if (version !== undefined) smallInteger(version, 1, what);
  if (toHex(body.next(Tag.SEQUENCE).raw) !== toHex(algorithm.raw)) {
    throw body.fault("the two signature algorithms differ");
  }
  const issuer = parseName(body.next(Tag.SEQUENCE), what);
  const thisUpdate = timeOf(body.next(), what);
  const next = body.optional(Tag.UTC_TIME) ?? body.optional(Tag.GENERALIZED_TIME);
  if (next === undefined) throw body.fault("nextUpdate is missing");
  const revoked = new Set<string>();
  const entries = body.optional(Tag.SEQUENCE);
  if (entries !== undefined) {
    const list = new Der(entries.content, what);
    while (!list.done) {
      const entry = list.enter(Tag.SEQUENCE);
      const serial = serialOf(entry.next(Tag.INTEGER), what);
      timeOf(entry.next(), what);
      const extra = entry.optional(Tag.SEQUENCE);
      if (extra !== undefined) refuseCritical(parseExtensions(extra, what), body);
      entry.end();
      revoked.add(serial);
    }
  }
  const wrapped = body.optional(0xa0);
  body.end();
  const extensions = wrapped === undefined
    ? new Map<string, Extension>()
    : parseExtensions(only(wrapped.content, Tag.SEQUENCE, what), what);
  refuseCritical(extensions, body);
  return Object.freeze({
    raw: bytes,
    tbs: tbs.raw,
    algorithm: parseAlgorithm(algorithm, what),
    signature,
    issuer,
    thisUpdate,
    nextUpdate: timeOf(next, what),
    revoked,
    extensions,
  });
}

/** Address of a certificate's revocation list, if it names exactly one. */
export function crlAddress(certificate: Certificate): string | undefined {
  const extension = certificate.extensions.get(Oid.CRL_POINTS);
  if (extension === undefined) return undefined;
  const what = "CRL distribution points";
  const points = new Der(only(extension.value, Tag.SEQUENCE, what).content, what);
  const address = points.enter(Tag.SEQUENCE).enter(0xa0).enter(0xa0).next(0x86).content;
  return points.done ? new TextDecoder().decode(address) : undefined;
}

/** A critical extension changes what the list means (delta, indirect, by reason): none is known here. */
function refuseCritical(extensions: ReadonlyMap<string, Extension>, at: Der): void {
  for (const [oid, { critical }] of extensions) {
    if (critical && oid !== Oid.AUTHORITY_KEY_ID) {
      throw at.fault(`critical extension ${oid} is unknown`);
    }
  }
}
