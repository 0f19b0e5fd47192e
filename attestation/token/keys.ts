// Key sets of token issuers (RFC 7517), as their `certs` address gives them. The set is collateral: a
// key counts when the policy pins it, or when the policy trusts the set of the issuer it names.
import { CocosError } from "../../base/mod.ts";
import { Fields, parseJson } from "../json.ts";
import { toHex } from "../verdict.ts";
import {
  base64url,
  decodeBase64,
  decodeBase64url,
  isRsaExponent,
  parseCertificate,
  sha,
  type SubjectKey,
} from "../x509/mod.ts";

/** One signing key. */
export interface TokenKey {
  readonly id: string;
  /** SHA-256 of what names the key in a policy: `n ‖ e` of RSA, as RFC 7638 thumbprint, hex. */
  readonly thumbprint: string;
  /** Public RSA key. */
  readonly jwk: { readonly kty: "RSA"; readonly n: string; readonly e: string };
}

const MAX_KEYS = 64;

/**
 * Keys of a JWK set; those of other kinds than RSA are left out.
 *
 * @throws {CocosError} `invalid-argument` for malformed sets and for two keys of one id.
 */
export async function parseKeySet(text: string): Promise<readonly TokenKey[]> {
  const what = "a key set";
  const list = new Fields(parseJson(text, what), what);
  const items = list.required("keys", list.array("keys"));
  if (items.length > MAX_KEYS) throw list.fault("keys", `has more than ${MAX_KEYS} items`);
  const keys: TokenKey[] = [];
  for (const item of items) {
    const fields = new Fields(item, what, "keys");
    if (fields.string("kty") !== "RSA") continue;
    const id = fields.required("kid", fields.string("kid"));
    if (keys.some((each) => each.id === id)) throw fields.fault("kid", "stands twice");
    keys.push(await tokenKey(id, rsaOf(fields)));
  }
  return Object.freeze(keys);
}

/** Modulus and exponent: from the first certificate of x5c, else from n and e. */
function rsaOf(fields: Fields): { n: string; e: string } {
  const [first] = fields.array("x5c") ?? [];
  if (first === undefined) {
    return {
      n: fields.required("n", fields.string("n")),
      e: fields.required("e", fields.string("e")),
    };
  }
  if (first.kind !== "string") throw fields.fault("x5c", "must be a list of texts");
  const { key } = parseCertificate(decodeBase64(first.value as string), "a key's certificate");
  return rsaText(key);
}

function rsaText(key: SubjectKey): { n: string; e: string } {
  if (key.kind !== "rsa") {
    throw new CocosError("invalid-argument", "Cannot take a key: it is not RSA");
  }
  return { n: base64url(key.modulus), e: base64url(key.exponent) };
}

/** A key with its RFC 7638 thumbprint. */
export async function tokenKey(id: string, { n, e }: { n: string; e: string }): Promise<TokenKey> {
  const modulus = decodeBase64url(n);
  if (modulus.length < 256 || modulus.length > 1024 || !isRsaExponent(decodeBase64url(e))) {
    throw new CocosError(
      "invalid-key",
      "Cannot take a key: RSA of 2048 to 8192 bits with an odd exponent from 3 is due",
    );
  }
  const text = `{"e":${JSON.stringify(e)},"kty":"RSA","n":${JSON.stringify(n)}}`;
  const thumbprint = toHex(await sha(256, new TextEncoder().encode(text)));
  return Object.freeze({ id, thumbprint, jwk: Object.freeze({ kty: "RSA", n, e }) });
}
