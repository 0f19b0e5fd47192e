// INSECURE by design: evidence for machines without any TEE, signed by a key everybody has. It proves
// nothing; only a policy of technology `simulated` that names the key takes it (threat A-18).
import { ed25519 } from "@noble/curves/ed25519.js";
import { CocosError } from "../../base/mod.ts";
import { Reader } from "../reader.ts";
import { toHex } from "../verdict.ts";

/** First bytes of simulated evidence: no parser of real evidence takes them for its own. */
export const SIMULATED_MAGIC = "COCOS INSECURE SIMULATED EVIDENCE\n";

/** The published secret of the simulated root: the text is the key. */
export const INSECURE_SIMULATED_SECRET: Uint8Array = new TextEncoder().encode(
  "INSECURE cocos simulated root 01",
);

/** Public key of the simulated root, lower-case hex: what a development policy must name. */
export const INSECURE_SIMULATED_ROOT: string = toHex(
  ed25519.getPublicKey(INSECURE_SIMULATED_SECRET),
);

/** What simulated evidence claims. */
export interface SimulatedClaims {
  /** 48 bytes. */
  readonly measurement: Uint8Array;
  /** 64 bytes. */
  readonly reportData: Uint8Array;
  /** 32 bytes. */
  readonly hostData: Uint8Array;
}

/** Parsed simulated evidence. */
export interface SimulatedEvidence extends SimulatedClaims {
  readonly signed: Uint8Array;
  /** 32 bytes, Ed25519. */
  readonly root: Uint8Array;
  readonly signature: Uint8Array;
}

const LENGTHS = { measurement: 48, reportData: 64, hostData: 32 } as const;
const magic = new TextEncoder().encode(SIMULATED_MAGIC);

/**
 * Makes simulated evidence.
 *
 * @throws {CocosError} `invalid-argument` when a field has not its length.
 */
export function issueSimulated(
  claims: SimulatedClaims,
  secret: Uint8Array = INSECURE_SIMULATED_SECRET,
): Uint8Array {
  const parts: Uint8Array[] = [magic, Uint8Array.of(1)];
  for (const [name, length] of Object.entries(LENGTHS)) {
    const value = claims[name as keyof SimulatedClaims];
    if (value.length !== length) {
      throw new CocosError(
        "invalid-argument",
        `Cannot simulate evidence: ${name} must have ${length} bytes, has ${value.length}`,
      );
    }
    parts.push(value);
  }
  parts.push(ed25519.getPublicKey(secret));
  const signed = Uint8Array.from(parts.flatMap((part) => [...part]));
  return Uint8Array.from([...signed, ...ed25519.sign(signed, secret)]);
}

/**
 * Parses simulated evidence.
 *
 * @throws {CocosError} `invalid-argument` with the offset.
 */
export function parseSimulated(bytes: Uint8Array): SimulatedEvidence {
  const reader = new Reader(bytes, "simulated evidence");
  const head = reader.bytes(magic.length);
  if (toHex(head) !== toHex(magic)) {
    throw reader.fault("it does not begin as simulated evidence", 0);
  }
  const version = reader.u8();
  if (version !== 1) throw reader.fault(`version ${version} is unknown`);
  const measurement = reader.bytes(LENGTHS.measurement);
  const reportData = reader.bytes(LENGTHS.reportData);
  const hostData = reader.bytes(LENGTHS.hostData);
  const root = reader.bytes(32);
  const signed = bytes.subarray(0, reader.offset);
  const signature = reader.bytes(64);
  reader.end();
  return Object.freeze({ signed, measurement, reportData, hostData, root, signature });
}

/** Whether bytes call themselves simulated evidence: for a warning, never for a choice of verifier. */
export function looksSimulated(bytes: Uint8Array): boolean {
  return magic.every((byte, at) => bytes[at] === byte);
}

/** Whether the signature holds; a malformed key or signature is false. */
export function simulatedSignatureHolds(evidence: SimulatedEvidence): boolean {
  try {
    return ed25519.verify(evidence.signature, evidence.signed, evidence.root, { zip215: false });
  } catch {
    return false;
  }
}
