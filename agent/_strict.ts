// A party of the strict mode for tests: signs as docs/protocol.md says, or wrongly on purpose, and can
// send what it sent again.
import assert from "node:assert/strict";
import { CocosError, type ErrorCode, hex, sha3_256 } from "../base/mod.ts";
import {
  AgentService,
  ALGORITHM_ITEM,
  type ClientSecurity,
  type Connected,
  connectTo,
  digestOfCanonical,
  PartyService,
  RESULT_ITEM,
  type SignedRequest,
  signRequest,
} from "../proto/mod.ts";
import { uploadOf } from "./_fakes.ts";
import { type Party, type Run, runOf } from "./_parties.ts";

/** Id of the tests' computation. */
export const ID = "0f8fad5b-d9cb-469f-a165-70867728950e";

/** A run request with everything the strict mode wants; datasets without a name get one. */
export function strictRun(
  owner: Party,
  algorithm: Uint8Array,
  datasets: readonly { data: Uint8Array; filename?: string; owner?: Party }[] = [],
  more: Run = {},
): Run {
  const run = runOf(owner, algorithm, datasets);
  return {
    ...run,
    id: ID,
    algorithm: { ...run.algorithm, type: "bin", size: BigInt(algorithm.length) },
    datasets: datasets.map(({ data, filename = "" }, i) => ({
      ...run.datasets?.[i],
      filename: filename || `data-${i}`,
      size: BigInt(data.length),
    })),
    channel: "insecure",
    ...more,
  };
}

const METHODS = {
  algo: "/agent.AgentService/Algo",
  data: "/agent.AgentService/Data",
  result: "/agent.AgentService/Result",
  held: "/cocos.agent.v1.PartyService/Held",
  acknowledge: "/cocos.agent.v1.PartyService/Acknowledge",
  output: "/cocos.agent.v1.PartyService/Output",
} as const;

/** A signed method. */
export type Method = keyof typeof METHODS;

/** What a call is made of. */
export interface Sent {
  readonly method: Method;
  readonly metadata: Record<string, string | readonly string[]>;
  readonly item: string;
  /** Payload of an upload, or the digest of an acknowledgement. */
  readonly payload: Uint8Array;
  readonly filename: string;
}

type Services = { agent: typeof AgentService; party: typeof PartyService };

/** One connection of a party. */
export class Caller implements AsyncDisposable {
  /** Every call, in order. */
  readonly sent: Sent[] = [];
  readonly #client: Connected<Services>;

  constructor(port: number, security: ClientSecurity = { kind: "none" }) {
    const target = { host: "127.0.0.1", port };
    this.#client = connectTo({ agent: AgentService, party: PartyService }, { target, security });
  }

  get client(): Connected<Services> {
    return this.#client;
  }

  /** Canonical text of the agent's manifest. */
  async manifest(): Promise<string> {
    return new TextDecoder().decode((await this.#client.party.manifest({})).canonical);
  }

  /** A challenge for the agent's own manifest, in hexadecimal. */
  async challenge(): Promise<{ challenge: string; computation: string; manifest: string }> {
    const { canonical } = await this.#client.party.manifest({});
    const computationId = JSON.parse(new TextDecoder().decode(canonical)).id as string;
    const manifestDigest = new Uint8Array(digestOfCanonical(canonical));
    const { challenge } = await this.#client.party.challenge({ computationId, manifestDigest });
    return {
      challenge: challenge.toHex(),
      computation: computationId,
      manifest: manifestDigest.toHex(),
    };
  }

  /** Metadata of a signed request; `change` replaces what is signed. */
  async sign(
    { key }: Party,
    method: Method,
    item: string,
    payload: Uint8Array = new Uint8Array(),
    change: Partial<SignedRequest> = {},
  ): Promise<Record<string, string>> {
    const request: SignedRequest = {
      method: METHODS[method],
      ...await this.challenge(),
      item,
      payload: payload.length === 0 ? "" : hex(sha3_256(payload)),
      size: payload.length,
      channel: "",
      lifetime: 60,
      ...change,
    };
    return signRequest(request, key);
  }

  /** Signs and calls. */
  async call(
    party: Party,
    method: Method,
    item: string,
    payload: Uint8Array = new Uint8Array(),
    change: Partial<SignedRequest> & { filename?: string } = {},
  ): Promise<Uint8Array> {
    const { filename = item.replace(/^dataset:/, ""), ...signed } = change;
    const metadata = await this.sign(party, method, item, payload, signed);
    return await this.send({ method, metadata, item, payload, filename });
  }

  /** Makes a call with metadata that were made before; gives what a result call gives. */
  async send(sent: Sent): Promise<Uint8Array> {
    this.sent.push(sent);
    const { method, metadata, item, payload, filename } = sent;
    const { agent, party } = this.#client;
    switch (method) {
      case "algo":
        await agent.algo(uploadOf(payload, (algorithm) => ({ algorithm })), { metadata });
        break;
      case "data":
        await agent.data(uploadOf(payload, (dataset) => ({ dataset, filename })), { metadata });
        break;
      case "result": {
        const parts: Uint8Array[] = [];
        const { messages } = agent.result({}, { metadata });
        for await (const { file } of messages) parts.push(file);
        return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
      }
      case "held":
        await party.held({ item }, { metadata });
        break;
      case "acknowledge": {
        const digest = payload.length === 0 ? payload : sha3_256(payload);
        await party.acknowledge({ digest: new Uint8Array(digest) }, { metadata });
        break;
      }
      case "output":
        await party.output({}, { metadata });
        break;
    }
    return new Uint8Array();
  }

  algo(party: Party, algorithm: Uint8Array): Promise<Uint8Array> {
    return this.call(party, "algo", ALGORITHM_ITEM, algorithm);
  }

  data(party: Party, name: string, data: Uint8Array): Promise<Uint8Array> {
    return this.call(party, "data", `dataset:${name}`, data);
  }

  /** Fetches the result, without acknowledging it. */
  result(party: Party): Promise<Uint8Array> {
    return this.call(party, "result", RESULT_ITEM);
  }

  acknowledge(party: Party, archive: Uint8Array): Promise<Uint8Array> {
    return this.call(party, "acknowledge", RESULT_ITEM, archive);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
  }
}

/** Asserts that a call is refused with the status of a code and a text. */
export async function refused(
  call: Promise<unknown>,
  code: ErrorCode,
  text: string | RegExp,
): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof CocosError);
    if (typeof text === "string") assert.equal(error.message, text);
    else assert.match(error.message, text);
    assert.equal(error.status, new CocosError(code, "").status, error.message);
    return true;
  });
}
