// IMA templates (Linux security/integrity/ima/ima_template*.c): which fields an entry has, how they
// stand in the template data, and what they say. All of it comes from the guest's kernel, or from
// whoever wrote the list; only hashes that lead to a signed PCR 10 are believed.
import { CocosError } from "../../base/mod.ts";
import { Reader } from "../reader.ts";

/** Names of fields, as kernels call them. */
type FieldName = "d" | "n" | "d-ng" | "d-ngv2" | "n-ng" | "sig" | "buf" | "d-modsig" | "modsig";

/** Fields of the built-in templates. */
export const IMA_TEMPLATES = {
  "ima": ["d", "n"],
  "ima-ng": ["d-ng", "n-ng"],
  "ima-sig": ["d-ng", "n-ng", "sig"],
  "ima-ngv2": ["d-ngv2", "n-ng"],
  "ima-sigv2": ["d-ngv2", "n-ng", "sig"],
  "ima-buf": ["d-ng", "n-ng", "buf"],
  "ima-modsig": ["d-ng", "n-ng", "sig", "d-modsig", "modsig"],
} as const satisfies Record<string, readonly FieldName[]>;

/** Name of a template. */
export type ImaTemplate = keyof typeof IMA_TEMPLATES;

/** Digest lengths by the kernel's algorithm names (crypto/hash_info.c). */
export const FILE_HASHES: ReadonlyMap<string, number> = new Map([
  ["md4", 16],
  ["md5", 16],
  ["sha1", 20],
  ["rmd160", 20],
  ["sha256", 32],
  ["sha384", 48],
  ["sha512", 64],
  ["sha224", 28],
  ["rmd128", 16],
  ["rmd256", 32],
  ["rmd320", 40],
  ["wp256", 32],
  ["wp384", 48],
  ["wp512", 64],
  ["tgr128", 16],
  ["tgr160", 20],
  ["tgr192", 24],
  ["sm3", 32],
  ["sm3-256", 32],
  ["streebog256", 32],
  ["streebog512", 64],
  ["sha3-256", 32],
  ["sha3-384", 48],
  ["sha3-512", 64],
]);

/** `verity:streebog512:` and room. */
const MAX_DIGEST_HEAD = 40;

/** File name of an `ima` entry: 255 characters, padded by zeros when hashed. */
const OLD_NAME_BYTES = 256;

/** PATH_MAX, and some for names that are no paths. */
const MAX_PATH_BYTES = 8192;

/** A digest of a file, or of what `kind` says. */
export interface FileDigest {
  /** `ima`: of the content; `verity`: of the fs-verity descriptor. */
  readonly kind: "ima" | "verity";
  readonly algorithm: string;
  readonly digest: Uint8Array;
}

/** What the template data of an entry says. */
export interface ImaFields {
  readonly file: FileDigest;
  /** File name as the kernel saw it; bytes that are not UTF-8 as `\xNN`. */
  readonly path: string;
  /** security.ima of the file; empty when it has none. */
  readonly signature?: Uint8Array;
  /** Measured buffer (a key, a command line, a policy). */
  readonly buffer?: Uint8Array;
  readonly modsigFile?: FileDigest;
  readonly modsig?: Uint8Array;
}

/** Whether a word names a template. */
export function isTemplate(word: string): word is ImaTemplate {
  return Object.hasOwn(IMA_TEMPLATES, word);
}

/**
 * Reads template data, which is also what is hashed: for `ima` a SHA-1 digest and a name padded to 256
 * bytes, for the others each field behind its length.
 *
 * @throws {CocosError} `invalid-argument` with the offset.
 */
export function parseTemplateData(template: ImaTemplate, reader: Reader): ImaFields {
  if (template === "ima") {
    const digest = reader.bytes(20);
    const name = reader.bytes(OLD_NAME_BYTES);
    reader.end();
    const end = name.indexOf(0);
    if (end === -1 || name.subarray(end).some((byte) => byte !== 0)) {
      throw reader.fault("a name must end in zeros");
    }
    return {
      file: { kind: "ima", algorithm: "sha1", digest },
      path: pathText(name.subarray(0, end)),
    };
  }
  const fields: Partial<Record<FieldName, Uint8Array>> = {};
  for (const name of IMA_TEMPLATES[template]) fields[name] = reader.bytes(reader.u32le());
  reader.end();
  const { "d-ng": plain, "d-ngv2": typed, "n-ng": name, sig, buf, "d-modsig": modDigest, modsig } =
    fields;
  const said: { -readonly [name in keyof ImaFields]: ImaFields[name] } = {
    file: plain === undefined
      ? digestField(reader, typed ?? NOTHING, true)
      : digestField(reader, plain, false),
    path: nameField(reader, name ?? NOTHING),
  };
  if (sig !== undefined) said.signature = sig;
  if (buf !== undefined) said.buffer = buf;
  if (modDigest !== undefined && modDigest.length > 0) {
    said.modsigFile = digestField(reader, modDigest, false);
  }
  if (modsig !== undefined) said.modsig = modsig;
  return said;
}

const NOTHING = new Uint8Array();

/** `alg:` NUL digest; with a kind, `ima:alg:` NUL digest. */
function digestField(reader: Reader, bytes: Uint8Array, typed: boolean): FileDigest {
  let head = "";
  let end = 0;
  while (end < MAX_DIGEST_HEAD && end < bytes.length && bytes[end] !== 0) {
    head += String.fromCharCode(bytes[end++] as number);
  }
  if (bytes[end] !== 0 || !head.endsWith(":")) {
    throw reader.fault("a digest must start with its algorithm");
  }
  const colon = typed ? head.indexOf(":") : -1;
  const kind = typed ? head.slice(0, colon) : "ima";
  const algorithm = head.slice(colon + 1, -1);
  const size = FILE_HASHES.get(algorithm);
  if ((kind !== "ima" && kind !== "verity") || size === undefined) {
    throw reader.fault("a digest must start with its kind and algorithm");
  }
  const digest = bytes.subarray(end + 1);
  if (size !== digest.length) throw reader.fault(`a ${algorithm} digest of ${digest.length} bytes`);
  return { kind, algorithm, digest };
}

/** A name that ends in one NUL and has no other. */
function nameField(reader: Reader, bytes: Uint8Array): string {
  if (bytes.length > MAX_PATH_BYTES) throw reader.fault("a name is too long");
  if (bytes.length === 0 || bytes.indexOf(0) !== bytes.length - 1) {
    throw reader.fault("a name must end in one NUL");
  }
  return pathText(bytes.subarray(0, -1));
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const LATIN1 = new TextDecoder("latin1");

/** Text of a name; other bytes than UTF-8 are escaped, so that two names never look the same. */
export function pathText(bytes: Uint8Array): string {
  let plain = true;
  for (const byte of bytes) {
    if (byte < 0x20 || byte > 0x7e || byte === 0x5c) {
      plain = false;
      break;
    }
  }
  if (plain) return LATIN1.decode(bytes);
  try {
    // Backslashes, control and direction characters must not reach a terminal as they are.
    return UTF8.decode(bytes).replace(/[\\\p{Cc}\p{Cf}]/gu, (char) => {
      const point = char.codePointAt(0) ?? 0;
      return point < 0x80 ? escaped(point) : `\\u{${point.toString(16)}}`;
    });
  } catch {
    return [...bytes].map((byte) =>
      byte < 0x20 || byte > 0x7e || byte === 0x5c ? escaped(byte) : String.fromCharCode(byte)
    ).join("");
  }
}

function escaped(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}

/** Template data of an `ima` entry. */
export function oldTemplateData(digest: Uint8Array, name: Uint8Array): Uint8Array | undefined {
  if (digest.length !== 20 || name.length >= OLD_NAME_BYTES || name.includes(0)) return undefined;
  const data = new Uint8Array(20 + OLD_NAME_BYTES);
  data.set(digest);
  data.set(name, 20);
  return data;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** `algorithm:hex`, the form of allow-lists. A list has 100,000 of them: hence the table. */
export function digestText({ kind, algorithm, digest }: FileDigest): string {
  let text = kind === "verity" ? `verity:${algorithm}:` : `${algorithm}:`;
  for (const byte of digest) text += HEX[byte];
  return text;
}

/** A signature in security.ima (format 2). */
export interface ImaSignature {
  /** `file`: over the file's digest; `verity`: over the fs-verity digest. */
  readonly over: "file" | "verity";
  /** Kernel number of the hash algorithm. */
  readonly hash: number;
  /** Last four bytes of the signer's subject key id. */
  readonly keyId: Uint8Array;
  readonly signature: Uint8Array;
}

/**
 * Parses security.ima of the digital signature types 3 and 6, version 2.
 *
 * @throws {CocosError} `invalid-argument` for another type or version, or a wrong length.
 */
export function parseImaSignature(bytes: Uint8Array): ImaSignature {
  const reader = new Reader(bytes, "an IMA signature");
  const type = reader.u8();
  const version = reader.u8();
  if ((type !== 3 && type !== 6) || version !== 2 && version !== 3) {
    throw new CocosError(
      "invalid-argument",
      `Cannot read an IMA signature of type ${type}.${version}`,
    );
  }
  const hash = reader.u8();
  const keyId = reader.bytes(4);
  const signature = reader.bytes(reader.u16be());
  reader.end();
  return Object.freeze({ over: type === 3 ? "file" : "verity", hash, keyId, signature });
}

/** Text of a few bytes: quicker than a decoder, and lists have 100,000 of them. */
export function asciiText(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
