// How an SEV-SNP report names a vTPM inside the guest: the seed's way (the guest OS puts the AK into
// REPORT_DATA at VMPL 2) and the SVSM attestation protocol (the SVSM itself puts its services'
// manifest there at VMPL 0; AMD 58019 §7). The report must have been verified before.
import { sha512 } from "@noble/hashes/sha2.js";
import { sha3_512 } from "@noble/hashes/sha3.js";
import { CocosError } from "../../base/mod.ts";
import { Reader } from "../reader.ts";
import { parsePublic, type TpmPublic } from "./public.ts";

/** REPORT_DATA is 64 bytes on every technology, and so is the seed's TEE nonce. */
export const REPORT_DATA_BYTES = 64;

/** Service that is a vTPM; its manifest, version 0, is the endorsement key's TPMT_PUBLIC. */
export const VTPM_SERVICE = "c476f1eb-0123-45a5-9641-b4e7dde5bfe3";
const ALL_SERVICES = "63849ebb-3d92-4670-a1ff-58f9c94b87bb";

/** An SVSM has a handful of services, each with a small manifest. */
const MAX_MANIFEST_BYTES = 64 * 1024;
const MAX_SERVICES = 32;

/**
 * REPORT_DATA that binds an attestation key as the seed does: SHA3-512(teeNonce ‖ TPMT_PUBLIC).
 *
 * @throws {CocosError} `invalid-argument` unless the nonce has 64 bytes: with another length the
 * boundary between nonce and key would be the peer's choice.
 */
export function akReportData(teeNonce: Uint8Array, akPublic: Uint8Array): Uint8Array {
  return sha3_512(join(nonce64(teeNonce), akPublic));
}

/**
 * REPORT_DATA of the SVSM attestation protocol: SHA-512(nonce ‖ manifest).
 *
 * @throws {CocosError} `invalid-argument` unless the nonce has 64 bytes.
 */
export function svsmReportData(nonce: Uint8Array, manifest: Uint8Array): Uint8Array {
  return sha512(join(nonce64(nonce), manifest));
}

/** One service of a manifest of all services. */
export interface SvsmService {
  /** Lower-case GUID. */
  readonly guid: string;
  readonly manifest: Uint8Array;
}

/**
 * Parses the manifest of all services.
 *
 * @throws {CocosError} `invalid-argument` for a wrong GUID, lengths outside of the table, ranges that
 * overlap the header, or a service named twice.
 */
export function parseSvsmManifest(bytes: Uint8Array): readonly SvsmService[] {
  const reader = new Reader(bytes, "an SVSM manifest");
  if (bytes.length > MAX_MANIFEST_BYTES) throw reader.fault(`${bytes.length} bytes are too many`);
  const guid = readGuid(reader);
  if (guid !== ALL_SERVICES) throw reader.fault(`${guid} is not the table of all services`, 0);
  if (reader.u32le() !== bytes.length) throw reader.fault("length of the table disagrees", 16);
  const count = reader.u32le();
  if (count > MAX_SERVICES) throw reader.fault(`${count} services are too many`, 20);
  const head = 24 + 24 * count;
  const services: SvsmService[] = [];
  for (let i = 0; i < count; i++) {
    const at = reader.offset;
    const guid = readGuid(reader);
    const start = reader.u32le();
    const length = reader.u32le();
    if (start < head || start + length > bytes.length) {
      throw reader.fault("data of a service lies outside of the table", at + 16);
    }
    if (services.some((each) => each.guid === guid)) throw reader.fault(`${guid} twice`, at);
    services.push(Object.freeze({ guid, manifest: bytes.subarray(start, start + length) }));
  }
  return Object.freeze(services);
}

/**
 * The endorsement key a manifest names: of the vTPM service when it is the table of all services,
 * else the manifest itself.
 *
 * @throws {CocosError} `invalid-argument` when there is no vTPM service or its manifest is no key.
 */
export function svsmEndorsementKey(manifest: Uint8Array, single: boolean): TpmPublic {
  if (single) return parsePublic(manifest);
  const service = parseSvsmManifest(manifest).find((each) => each.guid === VTPM_SERVICE);
  if (service === undefined) {
    throw new CocosError(
      "invalid-argument",
      "Cannot read an SVSM manifest: it has no vTPM service",
    );
  }
  return parsePublic(service.manifest);
}

/** A GUID in mixed-endian order, as UEFI keeps it, as text. */
function readGuid(reader: Reader): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  const first = hex(reader.u32le(), 8);
  const middle = `${hex(reader.u16le(), 4)}-${hex(reader.u16le(), 4)}`;
  const last = [...reader.bytes(8)].map((byte) => hex(byte, 2)).join("");
  return `${first}-${middle}-${last.slice(0, 4)}-${last.slice(4)}`;
}

function nonce64(nonce: Uint8Array): Uint8Array {
  if (nonce.length === REPORT_DATA_BYTES) return nonce;
  throw new CocosError(
    "invalid-argument",
    `Cannot bind a key to a nonce of ${nonce.length} bytes: ${REPORT_DATA_BYTES} are due`,
  );
}

function join(left: Uint8Array, right: Uint8Array): Uint8Array {
  const both = new Uint8Array(left.length + right.length);
  both.set(left);
  both.set(right, left.length);
  return both;
}
