// `cocos attestation get`: asks the agent for evidence and keeps what it sends, unjudged. The agent
// is not trusted; judging is `attestation validate`.
import { CocosError } from "../../base/mod.ts";
import {
  decodeAttestation,
  formatAttestationText,
  parseToken,
  plain,
} from "../../attestation/mod.ts";
import type { Context } from "../context.ts";
import { withPeer } from "../peer.ts";
import { MAX_EVIDENCE_BYTES } from "./files.ts";
import type { AttestInvocation } from "./invocation.ts";
import { outputOf } from "./names.ts";
import { reportToJson } from "./report_json.ts";
import { writeFile } from "./write.ts";
import { usage } from "./values.ts";

type Get = AttestInvocation & { command: "attestation get" };

/** Numbers on the wire (wire.md §1.5). */
const TYPES = { snp: 0, vtpm: 1, "snp-vtpm": 2, "azure-token": 3, tdx: 4 } as const;
const FETCHING = {
  snp: "Fetching SEV-SNP attestation report",
  vtpm: "Fetching vTPM report",
  "snp-vtpm": "Fetching SEV-SNP and vTPM report",
  "azure-token": "Fetching Azure token",
  tdx: "Fetching TDX attestation report",
} as const;

/** Fetches evidence. */
export async function get(invocation: Get, context: Context): Promise<void> {
  const { kind, force } = invocation;
  const { terminal, signal } = context;
  const tee = nonce(invocation.tee, 64, "nonce");
  const vtpm = nonce(invocation.vtpm, 32, "vTPM nonce");
  const token = nonce(invocation.token, 32, "nonce");
  if (vtpm === undefined && (kind === "vtpm" || kind === "snp-vtpm")) {
    throw usage("vTPM nonce must be defined for vTPM attestation");
  }
  if (tee === undefined && (kind === "snp" || kind === "snp-vtpm")) {
    throw usage("TEE nonce must be defined for SEV-SNP attestation");
  }
  if (tee === undefined && kind === "tdx") {
    throw usage("TEE nonce must be defined for TDX attestation");
  }
  if (token === undefined && kind === "azure-token") {
    throw usage("Token nonce must be defined for Azure attestation");
  }
  terminal.say(FETCHING[kind]);
  const empty = new Uint8Array();
  const file = outputOf(invocation);
  await withPeer("agent", ({ AgentService }) => AgentService, context, async ({ client }) => {
    const type = TYPES[kind];
    const evidence = kind === "azure-token"
      ? (await client.azureAttestationToken({ tokenNonce: token ?? empty, type }, { signal })).file
      : await whole(
        client.attestation({ teeNonce: tee ?? empty, vtpmNonce: vtpm ?? empty, type }, { signal })
          .messages,
      );
    if (evidence.length === 0) throw new CocosError("data-loss", "the agent sent no evidence");
    await writeFile(file, formOf(invocation, evidence), force, 0o600);
  }, { anyKey: true });
  terminal.success("Attestation retrieved and saved successfully!");
  terminal.result({ file, kind });
}

function nonce(text: string | undefined, most: number, name: string): Uint8Array | undefined {
  if (text === undefined) return undefined;
  const bytes = /^(?:[0-9a-fA-F]{2})+$/.test(text) ? Uint8Array.fromHex(text) : undefined;
  if (bytes === undefined || bytes.length > most) {
    throw usage(
      `${name} must be a hex encoded string of length lesser or equal ${most} bytes`,
    );
  }
  return bytes;
}

async function whole(messages: AsyncIterable<{ readonly file: Uint8Array }>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const { file } of messages) {
    length += file.length;
    if (length > MAX_EVIDENCE_BYTES) {
      throw new CocosError("too-large", "the agent sends more evidence than there can be");
    }
    parts.push(file);
  }
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}

function formOf({ kind, text, jwt }: Get, evidence: Uint8Array): Uint8Array | string {
  if (kind === "azure-token") {
    const token = new TextDecoder().decode(evidence).trim();
    if (jwt) return `${token}\n`;
    const { payload, algorithm, keyId, keyUrl } = parseToken(token);
    const header = { alg: algorithm, kid: keyId, jku: keyUrl };
    return `${
      JSON.stringify({ header, payload: plain(payload) }, (_name, value) =>
        typeof value === "bigint" ? value.toString() : value, 2)
    }\n`;
  }
  if (!text || kind === "tdx") return evidence;
  return kind === "snp"
    ? reportToJson(evidence)
    : formatAttestationText(decodeAttestation(evidence));
}
