// PEM (RFC 7468), strictly: one label, whole base64 lines, nothing but white space and text lines
// without markers around. The text comes from files, peers and servers and is not trusted.
import { CocosError } from "../../base/mod.ts";

/** Largest text we read. */
const MAX_CHARACTERS = 1024 * 1024;

/**
 * DER of every block with that label, in order.
 *
 * @throws {CocosError} `invalid-argument` for a block of another label, a cut block, wrong base64,
 * or more than `most` blocks.
 */
export function decodePem(text: string, label: string, most = 16): Uint8Array[] {
  const blocks: Uint8Array[] = [];
  const begin = `-----BEGIN ${label}-----`;
  const end = `-----END ${label}-----`;
  if (text.length > MAX_CHARACTERS) throw refuse("it is longer than 1 MiB");
  let body: string[] | undefined;
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim();
    if (body === undefined) {
      if (line === begin) body = [];
      else if (line.startsWith("-----")) throw refuse(`a block other than ${label}`);
    } else if (line === end) {
      blocks.push(decodeBase64(body.join("")));
      body = undefined;
      if (blocks.length > most) throw refuse(`more than ${most} blocks`);
    } else if (/^[A-Za-z0-9+/]+={0,2}$/.test(line)) body.push(line);
    else throw refuse("a line inside a block is not base64");
  }
  if (body !== undefined) throw refuse("the last block is cut");
  return blocks;
}

/**
 * Bytes of padded base64.
 *
 * @throws {CocosError} `invalid-argument` for any other text, non-zero spare bits included.
 */
export function decodeBase64(text: string): Uint8Array {
  let binary: string;
  try {
    binary = atob(text);
  } catch (cause) {
    throw new CocosError("invalid-argument", "Cannot read base64: it is malformed", { cause });
  }
  if (btoa(binary) !== text) {
    throw new CocosError("invalid-argument", "Cannot read base64: it is not canonical");
  }
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** Bytes of unpadded base64url (RFC 7515 §2). */
export function decodeBase64url(text: string): Uint8Array {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) {
    throw new CocosError("invalid-argument", "Cannot read base64url: it is malformed");
  }
  const plain = text.replaceAll("-", "+").replaceAll("_", "/");
  return decodeBase64(plain + "=".repeat((4 - plain.length % 4) % 4));
}

/** PEM text of one block. */
export function encodePem(bytes: Uint8Array, label: string): string {
  const body = encodeBase64(bytes).replace(/(.{64})(?=.)/g, "$1\n");
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}

/** Padded base64. */
export function encodeBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function refuse(reason: string): CocosError {
  return new CocosError("invalid-argument", `Cannot read PEM: ${reason}`);
}
