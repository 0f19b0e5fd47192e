// Compact JWS (RFC 7515, 7519), read strictly before any key is used: three canonical base64url parts,
// no doubled name, only known header names. Nothing in a token chooses its own key or algorithm.
import { CocosError } from "../../base/mod.ts";
import { Fields, type Json, parseJson } from "../json.ts";
import { decodeBase64url } from "../x509/mod.ts";

/** Largest token we read; those of MAA are near 8 KiB. */
export const MAX_TOKEN_CHARACTERS = 64 * 1024;

/** A token taken apart; nothing about it is verified. */
export interface ParsedToken {
  readonly algorithm: string;
  readonly keyId: string | undefined;
  /** URL of a key set the token points at; only ever compared, never fetched. */
  readonly keyUrl: string | undefined;
  readonly payload: Json;
  /** `header.payload`, which the signature covers. */
  readonly signed: string;
}

const HEADER_NAMES = ["alg", "kid", "typ", "jku", "x5c", "x5t", "x5t#S256"];
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Takes a compact token apart.
 *
 * @throws {CocosError} `invalid-argument` for another form, `crit`, `jwk`, `x5u` and unknown header
 * names, doubled names in header or claims, text that is not UTF-8.
 */
export function parseToken(token: string): ParsedToken {
  if (token.length > MAX_TOKEN_CHARACTERS) {
    throw refuse(`it is longer than ${MAX_TOKEN_CHARACTERS}`);
  }
  const parts = token.split(".");
  const [head, body, signature] = parts;
  if (parts.length !== 3 || !head || !body || !signature) throw refuse("three parts are due");
  decodeBase64url(signature);
  const header = new Fields(part(head, "a token's header"), "a token's header");
  for (const name of HEADER_NAMES) header.get(name);
  header.end();
  const typ = header.string("typ");
  if (typ !== undefined && typ.toUpperCase() !== "JWT") throw refuse("its type is not JWT");
  const payload = part(body, "a token's claims");
  if (payload.kind !== "object") throw refuse("its claims are not an object");
  return Object.freeze({
    algorithm: header.required("alg", header.string("alg")),
    keyId: header.string("kid"),
    keyUrl: header.string("jku"),
    payload,
    signed: `${head}.${body}`,
  });
}

function part(text: string, what: string): Json {
  let decoded: string;
  try {
    decoded = utf8.decode(decodeBase64url(text));
  } catch (cause) {
    throw new CocosError("invalid-argument", `Cannot read ${what}: not base64url of UTF-8`, {
      cause,
    });
  }
  return parseJson(decoded, what);
}

function refuse(reason: string): CocosError {
  return new CocosError("invalid-argument", `Cannot read a token: ${reason}`);
}
