// Reference values in a CoRIM (draft-ietf-rats-corim): reads an unsigned one for a person to compare.
// Nothing signs it, so nothing in it becomes an expectation by itself.
import { CocosError } from "../../base/mod.ts";
import { toHex } from "../verdict.ts";
import { type Cbor, type CborTag, decodeCbor } from "./cbor.ts";

/** One digest a CoMID names. */
export interface ReferenceDigest {
  /** IANA named information hash: 1 SHA-256, 7 SHA-384, 8 SHA-512. */
  readonly algorithm: number;
  readonly digest: string;
}

/** An unsigned CoRIM. */
export interface Corim {
  readonly id: string;
  readonly profile: string | undefined;
  /** Ids of its CoMID tags. */
  readonly tags: readonly string[];
  /** Digests of all reference values. */
  readonly digests: readonly ReferenceDigest[];
}

const UNSIGNED_CORIM = 501;
const COMID = 506;

/**
 * Parses an unsigned CoRIM (CBOR tag 501).
 *
 * @throws {CocosError} `invalid-argument`; signed ones (tag 18) are named as such.
 */
export function parseCorim(bytes: Uint8Array): Corim {
  const outer = decodeCbor(bytes);
  if (isTag(outer) && outer.tag === 18) throw refuse("it is signed (COSE_Sign1)");
  if (!isTag(outer) || outer.tag !== UNSIGNED_CORIM) throw refuse("CBOR tag 501 is due");
  const map = mapOf(outer.value, "the CoRIM");
  const tags: string[] = [];
  const digests: ReferenceDigest[] = [];
  for (const each of listOf(map.get(1), "its tags")) {
    if (!isTag(each) || each.tag !== COMID || !(each.value instanceof Uint8Array)) continue;
    const comid = mapOf(decodeCbor(each.value), "a CoMID");
    tags.push(idText(mapOf(comid.get(1), "a tag identity").get(0)));
    collect(mapOf(comid.get(4), "its triples").get(0), digests);
  }
  const profile = map.get(3);
  return Object.freeze({
    id: idText(map.get(0)),
    profile: typeof profile === "string" ? profile : undefined,
    tags: Object.freeze(tags),
    digests: Object.freeze(digests),
  });
}

/** Reference triples: [environment, [measurement…]]; a measurement's values have digests at key 2. */
function collect(triples: Cbor, into: ReferenceDigest[]): void {
  for (const triple of triples === undefined ? [] : listOf(triples, "reference triples")) {
    const measurements = listOf(listOf(triple, "a triple")[1], "measurements");
    for (const measurement of measurements) {
      const values = mapOf(mapOf(measurement, "a measurement").get(1), "measured values");
      const listed = values.get(2);
      for (const pair of listed === undefined ? [] : listOf(listed, "digests")) {
        const [algorithm, digest] = listOf(pair, "a digest");
        if (typeof algorithm !== "number" || !(digest instanceof Uint8Array)) {
          throw refuse("a digest is malformed");
        }
        into.push(Object.freeze({ algorithm, digest: toHex(digest) }));
      }
    }
  }
}

function isTag(value: Cbor): value is CborTag {
  return typeof value === "object" && value !== null && "tag" in value;
}

function mapOf(value: Cbor, what: string): ReadonlyMap<Cbor, Cbor> {
  if (!(value instanceof Map)) throw refuse(`${what} must be a map`);
  return value;
}

function listOf(value: Cbor, what: string): readonly Cbor[] {
  if (!Array.isArray(value)) throw refuse(`${what} must be a list`);
  return value;
}

function idText(value: Cbor): string {
  if (typeof value === "string") return value;
  if (value instanceof Uint8Array) return toHex(value);
  throw refuse("an id is missing");
}

function refuse(reason: string): CocosError {
  return new CocosError("invalid-argument", `Cannot read a CoRIM: ${reason}`);
}
