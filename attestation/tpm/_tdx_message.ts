// tdx.QuoteV4 (the quote inside of an attest.Attestation) to and from the quote's bytes. The message is
// from the peer: the quote's signature is over the bytes that are rebuilt here, so a message that can't
// be put back to bytes, every field in its place, is refused.
import { CocosError } from "../../base/mod.ts";
import { Reader } from "../reader.ts";
import type { Message, Value } from "./_proto.ts";

/** A number of that many bytes (little-endian), or bytes of that length. */
type Place = readonly [name: string, bytes: number, kind: "number" | "bytes"];

const HEADER: readonly Place[] = [
  ["version", 2, "number"],
  ["attestation_key_type", 2, "number"],
  ["tee_type", 4, "number"],
  ["pce_svn", 2, "bytes"],
  ["qe_svn", 2, "bytes"],
  ["qe_vendor_id", 16, "bytes"],
  ["user_data", 20, "bytes"],
];
const BODY: readonly Place[] = [
  ["tee_tcb_svn", 16, "bytes"],
  ["mr_seam", 48, "bytes"],
  ["mr_signer_seam", 48, "bytes"],
  ["seam_attributes", 8, "bytes"],
  ["td_attributes", 8, "bytes"],
  ["xfam", 8, "bytes"],
  ["mr_td", 48, "bytes"],
  ["mr_config_id", 48, "bytes"],
  ["mr_owner", 48, "bytes"],
  ["mr_owner_config", 48, "bytes"],
];
const RTMR_BYTES = 48;
const ENCLAVE: readonly Place[] = [
  ["cpu_svn", 16, "bytes"],
  ["misc_select", 4, "number"],
  ["reserved1", 28, "bytes"],
  ["attributes", 16, "bytes"],
  ["mr_enclave", 32, "bytes"],
  ["reserved2", 32, "bytes"],
  ["mr_signer", 32, "bytes"],
  ["reserved3", 96, "bytes"],
  ["isv_prod_id", 2, "number"],
  ["isv_svn", 2, "number"],
  ["reserved4", 60, "bytes"],
  ["report_data", 64, "bytes"],
];

/** Bytes of a quote of version 4. @throws {CocosError} for a message that is none. */
export function quoteFromMessage(quote: Message): Uint8Array {
  const body = part(quote, "td_quote_body");
  const signed = part(quote, "signed_data");
  const certification = part(signed, "certification_data");
  const data = part(certification, "qe_report_certification_data");
  const auth = part(data, "qe_auth_data");
  const chain = part(data, "pck_certificate_chain_data");
  const rtmrs = (body["rtmrs"] ?? []) as readonly Uint8Array[];
  if (rtmrs.length !== 4) throw invalid(`${rtmrs.length} RTMRs`);
  const pem = bytes(chain, "pck_cert_chain");
  const qeData = join(
    places(part(data, "qe_report"), ENCLAVE),
    exactly(data, "qe_report_signature", 64),
    sized(2, number(auth, "parsed_data_size"), bytes(auth, "data"), "QE authentication data"),
    le(number(chain, "certificate_data_type"), 2),
    sized(4, number(chain, "size"), pem, "certificate chain"),
  );
  const authData = join(
    exactly(signed, "signature", 64),
    exactly(signed, "ecdsa_attestation_key", 64),
    le(number(certification, "certificate_data_type"), 2),
    sized(4, number(certification, "size"), qeData, "certification data"),
  );
  return join(
    places(part(quote, "header"), HEADER),
    places(body, BODY),
    ...rtmrs.map((each) => checked(each, RTMR_BYTES, "an RTMR")),
    exactly(body, "report_data", 64),
    sized(4, number(quote, "signed_data_size"), authData, "signature data"),
    bytes(quote, "extra_bytes"),
  );
}

/** The message of a quote of version 4. @throws {CocosError} for another quote. */
export function quoteToMessage(quote: Uint8Array): Message {
  const reader = new Reader(quote, "a TDX quote");
  const header = taken(reader, HEADER);
  if (header["version"] !== 4) throw invalid(`version ${header["version"]} has no message`);
  const body = taken(reader, BODY);
  const rtmrs = [0, 1, 2, 3].map(() => reader.bytes(RTMR_BYTES));
  const reportData = reader.bytes(64);
  const size = reader.u32le();
  const signed = reader.part(size);
  const extra = reader.rest();
  const signature = signed.bytes(64);
  const key = signed.bytes(64);
  const outer = signed.u16le();
  const outerSize = signed.u32le();
  const data = signed.part(outerSize);
  signed.end();
  const report = taken(data, ENCLAVE);
  const qeSignature = data.bytes(64);
  const authSize = data.u16le();
  const auth = data.bytes(authSize);
  const inner = data.u16le();
  const chainSize = data.u32le();
  const chain = data.bytes(chainSize);
  data.end();
  return {
    header,
    td_quote_body: { ...body, rtmrs, report_data: reportData },
    signed_data_size: size,
    signed_data: {
      signature,
      ecdsa_attestation_key: key,
      certification_data: {
        certificate_data_type: outer,
        size: outerSize,
        qe_report_certification_data: {
          qe_report: report,
          qe_report_signature: qeSignature,
          qe_auth_data: { parsed_data_size: authSize, data: auth },
          pck_certificate_chain_data: {
            certificate_data_type: inner,
            size: chainSize,
            pck_cert_chain: chain,
          },
        },
      },
    },
    ...(extra.length === 0 ? {} : { extra_bytes: extra }),
  };
}

function taken(reader: Reader, list: readonly Place[]): Record<string, Value> {
  const message: Record<string, Value> = {};
  for (const [name, length, kind] of list) {
    if (kind === "bytes") message[name] = reader.bytes(length);
    else message[name] = length === 2 ? reader.u16le() : reader.u32le();
  }
  return message;
}

function places(message: Message, list: readonly Place[]): Uint8Array {
  return join(
    ...list.map(([name, length, kind]) =>
      kind === "bytes" ? exactly(message, name, length) : le(number(message, name), length)
    ),
  );
}

function part(message: Message, name: string): Message {
  const value = message[name];
  if (value === undefined) throw invalid(`it has no ${name}`);
  return value as Message;
}

function bytes(message: Message, name: string): Uint8Array {
  return (message[name] ?? new Uint8Array()) as Uint8Array;
}

function number(message: Message, name: string): number {
  return (message[name] ?? 0) as number;
}

function exactly(message: Message, name: string, length: number): Uint8Array {
  return checked(bytes(message, name), length, name);
}

function checked(value: Uint8Array, length: number, name: string): Uint8Array {
  if (value.length !== length) throw invalid(`${name} has ${value.length} bytes, not ${length}`);
  return value;
}

/** A length that must be that of the bytes, and the bytes. */
function sized(width: 2 | 4, length: number, data: Uint8Array, name: string): Uint8Array {
  if (length !== data.length) throw invalid(`${name} has ${data.length} bytes, not ${length}`);
  return join(le(length, width), data);
}

function le(value: number, width: number): Uint8Array {
  if (value >= 256 ** width) throw invalid(`${value} does not fit ${width} bytes`);
  return Uint8Array.from({ length: width }, (_, at) => Math.floor(value / 256 ** at) % 256);
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, each) => sum + each.length, 0));
  let at = 0;
  for (const each of parts) {
    whole.set(each, at);
    at += each.length;
  }
  return whole;
}

function invalid(why: string): CocosError {
  return new CocosError("invalid-argument", `Cannot read TDX evidence: ${why}`);
}
