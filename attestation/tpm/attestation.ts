// go-tpm-tools' attest.Attestation, the evidence file of the seed era: binary and text, in and out.
// It is a container from the peer; nothing in it is trusted, not even that its parts belong together.
import { CocosError } from "../../base/mod.ts";
import { type Bank, bankOfId, BANKS } from "../banks.ts";
import { decode, encode, type Message } from "./_proto.ts";
import { format, parse } from "./_prototext.ts";
import { ATTESTATION } from "./_schemas.ts";
import { type SnpEvidence, snpFromMessage, snpToMessage } from "./_snp_message.ts";
import { quoteFromMessage, quoteToMessage } from "./_tdx_message.ts";

export type { SnpEvidence };

/** Evidence holds a 64 KiB log, quotes, certificates and a report; the seed's limit is the message's 4 MiB. */
export const MAX_ATTESTATION_BYTES = 4 * 1024 * 1024;

/** One quote per bank in evidence of go-tpm-tools; a TPM has at most 16 banks. */
const MAX_QUOTES = 16;

/** One quote with the register values it is said to cover. */
export interface QuoteEvidence {
  /** TPMS_ATTEST. */
  readonly quote: Uint8Array;
  /** TPMT_SIGNATURE. */
  readonly signature: Uint8Array;
  readonly bank: Bank;
  /** Register values by index. */
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
}

/** The evidence. Empty bytes mean: not given. */
export interface TpmAttestation {
  /** TPMT_PUBLIC of the attestation key. */
  readonly akPublic: Uint8Array;
  readonly quotes: readonly QuoteEvidence[];
  /** TCG event log. */
  readonly eventLog: Uint8Array;
  readonly canonicalEventLog: Uint8Array;
  /** DER. */
  readonly akCertificate: Uint8Array;
  /** DER each. */
  readonly intermediates: readonly Uint8Array[];
  /** Claimed, and signed by nothing here. */
  readonly instance?: {
    readonly zone: string;
    readonly projectId: string;
    readonly projectNumber: bigint;
    readonly name: string;
    readonly id: bigint;
  };
  readonly snp?: SnpEvidence;
  /** A TDX quote of version 4, rebuilt from tdx.QuoteV4. */
  readonly tdx?: Uint8Array;
}

/**
 * Decodes the binary form.
 *
 * @throws {CocosError} `invalid-argument` with the offset, also for unknown and repeated fields.
 */
export function decodeAttestation(bytes: Uint8Array): TpmAttestation {
  if (bytes.length > MAX_ATTESTATION_BYTES) {
    throw new CocosError("too-large", `Cannot read TPM evidence of ${bytes.length} bytes`);
  }
  return fromMessage(decode(ATTESTATION, bytes));
}

/** Encodes the binary form: fields ascending, defaults left out, map keys ascending. */
export function encodeAttestation(attestation: TpmAttestation): Uint8Array {
  return encode(ATTESTATION, toMessage(attestation));
}

/** Reads the text form. @throws {CocosError} `invalid-argument` with the line. */
export function parseAttestationText(text: string): TpmAttestation {
  return fromMessage(parse(ATTESTATION, text));
}

/** Writes the text form. */
export function formatAttestationText(attestation: TpmAttestation): string {
  return format(ATTESTATION, toMessage(attestation));
}

function fromMessage(message: Message): TpmAttestation {
  const quotes = (message["quotes"] ?? []) as readonly Message[];
  if (quotes.length > MAX_QUOTES) throw invalid(`${quotes.length} quotes are too many`);
  if (message["sev_snp_attestation"] !== undefined && message["tdx_attestation"] !== undefined) {
    throw invalid("it has an SNP and a TDX report");
  }
  const instance = message["instance_info"] as Message | undefined;
  const snp = message["sev_snp_attestation"] as Message | undefined;
  const tdx = message["tdx_attestation"] as Message | undefined;
  return Object.freeze({
    akPublic: bytesOf(message, "ak_pub"),
    quotes: Object.freeze(quotes.map(quoteFrom)),
    eventLog: bytesOf(message, "event_log"),
    canonicalEventLog: bytesOf(message, "canonical_event_log"),
    akCertificate: bytesOf(message, "ak_cert"),
    intermediates: Object.freeze((message["intermediate_certs"] ?? []) as readonly Uint8Array[]),
    ...(instance === undefined ? {} : {
      instance: Object.freeze({
        zone: (instance["zone"] ?? "") as string,
        projectId: (instance["project_id"] ?? "") as string,
        projectNumber: (instance["project_number"] ?? 0n) as bigint,
        name: (instance["instance_name"] ?? "") as string,
        id: (instance["instance_id"] ?? 0n) as bigint,
      }),
    }),
    ...(snp === undefined ? {} : { snp: snpFromMessage(snp) }),
    ...(tdx === undefined ? {} : { tdx: quoteFromMessage(tdx) }),
  });
}

function quoteFrom(message: Message): QuoteEvidence {
  const values = (message["pcrs"] ?? {}) as Message;
  const id = (values["hash"] ?? 0) as number;
  const bank = bankOfId(id);
  if (bank === undefined) throw invalid(`hash ${id} of a quote is not known`);
  const pcrs = (values["pcrs"] ?? new Map()) as ReadonlyMap<number, Uint8Array>;
  for (const [index, value] of pcrs) {
    if (index > 31 || value.length !== BANKS[bank].size) {
      throw invalid(`register ${index} of bank ${bank} has ${value.length} bytes`);
    }
  }
  return Object.freeze({
    quote: bytesOf(message, "quote"),
    signature: bytesOf(message, "raw_sig"),
    bank,
    pcrs,
  });
}

function toMessage(attestation: TpmAttestation): Message {
  const { instance, snp, tdx } = attestation;
  return {
    ...given("ak_pub", attestation.akPublic),
    quotes: attestation.quotes.map((each) => ({
      quote: each.quote,
      raw_sig: each.signature,
      pcrs: { hash: BANKS[each.bank].id, pcrs: each.pcrs },
    })),
    ...given("event_log", attestation.eventLog),
    ...(instance === undefined ? {} : {
      instance_info: {
        zone: instance.zone,
        project_id: instance.projectId,
        project_number: instance.projectNumber,
        instance_name: instance.name,
        instance_id: instance.id,
      },
    }),
    ...given("canonical_event_log", attestation.canonicalEventLog),
    ...given("ak_cert", attestation.akCertificate),
    intermediate_certs: attestation.intermediates,
    ...(snp === undefined ? {} : { sev_snp_attestation: snpToMessage(snp) }),
    ...(tdx === undefined ? {} : { tdx_attestation: quoteToMessage(tdx) }),
  };
}

function bytesOf(message: Message, name: string): Uint8Array {
  return (message[name] ?? new Uint8Array()) as Uint8Array;
}

function given(name: string, bytes: Uint8Array): Message {
  return bytes.length === 0 ? {} : { [name]: bytes };
}

function invalid(why: string): CocosError {
  return new CocosError("invalid-argument", `Cannot read TPM evidence: ${why}`);
}
