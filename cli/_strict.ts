// A strict agent on a real socket that keeps every call in order, and a manifest it holds. Only tests
// import this file.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { CocosError, digestOf, sha3_256 } from "../base/mod.ts";
import {
  AgentService,
  type CallContext,
  canonicalManifest,
  CHUNK_BYTES,
  cvms,
  implement,
  OFFSET_KEY,
  type OutputResponseSchema,
  PartyService,
  readPublicKey,
  readPublicKeyPem,
  type ReceivedRequest,
  receiveRequest,
  serve,
  type SignedRequest,
  type TlsServer,
} from "../proto/mod.ts";
import { type Agreement, parseAgreement } from "./agreement.ts";

/** Id of every manifest here. */
export const ID = "7d444840-9dc0-81d1-b245-5ffdce74fad2";

/** A file of a manifest. */
export interface Item {
  readonly name: string;
  readonly bytes: Uint8Array | string;
}

const bytesOf = ({ bytes }: Item) =>
  typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;

async function digest(bytes: Uint8Array): Promise<Uint8Array> {
  return await digestOf(ReadableStream.from([bytes]));
}

/** A manifest of one party that gives everything and gets the result. */
export async function manifestOf(
  publicPem: string,
  algorithm: Item,
  datasets: readonly Item[] = [],
  change: (message: cvms.ComputationRunReq) => void = () => {},
): Promise<Agreement> {
  const userKey = readPublicKeyPem(publicPem);
  const item = async (each: Item) => {
    const bytes = bytesOf(each);
    return { hash: await digest(bytes), userKey, size: BigInt(bytes.length) };
  };
  const message = create(cvms.ComputationRunReqSchema, {
    id: ID,
    name: "a study",
    algorithm: { ...await item(algorithm), type: "python" },
    datasets: await Promise.all(
      datasets.map(async (each) => ({ ...await item(each), filename: each.name })),
    ),
    resultConsumers: [{ userKey }],
    agentConfig: { port: "7002" },
    channel: "insecure",
  });
  change(message);
  return parseAgreement(canonicalManifest(message));
}

/** One call an agent got. */
export interface Call {
  /** `Manifest`, `Challenge`, `Algo`, … */
  readonly method: string;
  readonly metadata: readonly string[];
  /** Absent when the call is not signed. */
  readonly request?: SignedRequest;
  /** Whether the signature is the party's. */
  readonly signed: boolean;
  /** Bytes of payload, after the whole call. */
  bytes: number;
  /** The connection it came on. */
  readonly connection: object;
}

/** How a strict agent behaves. */
export interface StrictScript {
  readonly agreement: Agreement;
  readonly publicPem: string;
  /** Bytes it says are its manifest, instead of the agreement's. */
  readonly canonical?: Uint8Array;
  readonly tls?: TlsServer;
  readonly port?: number;
  /** Archive of the result. */
  readonly result?: Uint8Array;
  /** Digest it announces; absent, the archive's. */
  readonly resultDigest?: string;
  /** Error of every acknowledgement. */
  readonly acknowledgeError?: CocosError;
  /** What the algorithm printed. */
  readonly output?: MessageInitShape<typeof OutputResponseSchema>;
  /** Answers to uploads that get lost on the way, though the uploads are taken. */
  readonly lostAnswers?: number;
  /** Error of every challenge. */
  readonly challengeError?: CocosError;
}

/** A running strict agent. */
export interface StrictAgent extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly calls: Call[];
  /** Challenges it gave, hexadecimal. */
  readonly challenges: string[];
  /** What came of each upload, by its item. */
  readonly kept: ReadonlyMap<string, Uint8Array>;
}

/** Metadata that would change a run, were it believed. */
const RUN_KEYS = ["user-id", "algo_type", "algo_args", "python_runtime", "decompress"];

/** Starts one. */
export async function strictAgent(script: StrictScript): Promise<StrictAgent> {
  const key = readPublicKey(readPublicKeyPem(script.publicPem));
  const calls: Call[] = [];
  const challenges: string[] = [];
  const kept = new Map<string, Uint8Array>();
  const committed = new Set<string>();
  let lost = script.lostAnswers ?? 0;
  /** An upload was taken; its answer may get lost. */
  const commit = (item: string) => {
    committed.add(item);
    if (lost-- > 0) throw new CocosError("unavailable", "the connection broke");
    return {};
  };
  const note = (call: CallContext): Call => {
    let received: ReceivedRequest | undefined;
    try {
      received = receiveRequest(call.metadata);
    } catch {
      // A call without a signed request, which the test sees.
    }
    const made: Call = {
      method: call.method.slice(call.method.lastIndexOf("/") + 1),
      metadata: RUN_KEYS.filter((name) => call.metadata.get(name).length > 0),
      ...(received === undefined ? {} : { request: received.request }),
      signed: received?.isSignedBy(key) ?? false,
      bytes: 0,
      connection: call.connection,
    };
    calls.push(made);
    return made;
  };
  const refuse = () => Promise.reject(new CocosError("not-supported", "not in this test"));
  const archive: Uint8Array<ArrayBuffer> = new Uint8Array(script.result ?? []);
  const archiveDigest = (await digest(archive)).toHex();
  const server = await serve({
    host: "127.0.0.1",
    port: script.port ?? 0,
    healthName: "agent",
    ...(script.tls === undefined ? {} : { tls: script.tls }),
    services: [
      implement(PartyService, {
        manifest: (_request, call) => {
          note(call);
          const canonical = script.canonical ?? new TextEncoder().encode(script.agreement.text);
          return Promise.resolve({ canonical });
        },
        challenge: (request, call) => {
          note(call);
          if (script.challengeError !== undefined) return Promise.reject(script.challengeError);
          if (request.manifestDigest.toHex() !== script.agreement.digest) {
            return Promise.reject(new CocosError("untrusted", "another manifest is in force"));
          }
          const challenge = crypto.getRandomValues(new Uint8Array(32));
          challenges.push(challenge.toHex());
          return Promise.resolve({ challenge, lifetimeSeconds: 60 });
        },
        held: ({ item }, call) => {
          note(call);
          const bytes = kept.get(item) ?? new Uint8Array();
          return Promise.resolve({
            bytes: BigInt(bytes.length),
            digest: sha3_256(bytes),
            committed: committed.has(item),
          });
        },
        acknowledge: (_request, call) => {
          note(call);
          if (script.acknowledgeError !== undefined) return Promise.reject(script.acknowledgeError);
          return Promise.resolve({});
        },
        output: (_request, call) => {
          note(call);
          return Promise.resolve(script.output ?? {});
        },
      }),
      implement(AgentService, {
        algo: async (requests, call) => {
          const made = note(call);
          for await (const { algorithm, requirements } of requests) {
            made.bytes += algorithm.length + requirements.length;
          }
          return commit(made.request?.item ?? "");
        },
        data: async (requests, call) => {
          const made = note(call);
          const item = made.request?.item ?? "";
          const offset = Number(call.metadata.get(OFFSET_KEY)[0] ?? 0);
          const parts = [(kept.get(item) ?? new Uint8Array()).slice(0, offset)];
          try {
            for await (const { dataset } of requests) {
              made.bytes += dataset.length;
              parts.push(dataset.slice());
            }
          } finally {
            kept.set(item, new Uint8Array(await new Blob(parts).arrayBuffer()));
          }
          return commit(item);
        },
        result: async function* (_request, call) {
          const made = note(call);
          call.sendHeaders({
            "file-size": String(archive.length),
            "cocos-digest": script.resultDigest ?? archiveDigest,
          });
          const offset = Number(call.metadata.get(OFFSET_KEY)[0] ?? 0);
          for (let at = offset; at < archive.length; at += CHUNK_BYTES) {
            await Promise.resolve();
            yield { file: archive.slice(at, at + CHUNK_BYTES) };
            made.bytes += Math.min(CHUNK_BYTES, archive.length - at);
          }
        },
        attestation: async function* () {
          yield await refuse();
        },
        iMAMeasurements: async function* () {
          yield await refuse();
        },
        azureAttestationToken: refuse,
      }),
    ],
  });
  return {
    url: `127.0.0.1:${server.port}`,
    port: server.port,
    calls,
    challenges,
    kept,
    [Symbol.asyncDispose]: () => server.close(0),
  };
}
