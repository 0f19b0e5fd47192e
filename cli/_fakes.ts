// Peers for the CLI's tests: an agent and a manager that keep what they were sent, on real sockets,
// and one run of the CLI with its outputs kept. Only tests import this file.
import { CocosError, type Exit, Status } from "../base/mod.ts";
import {
  AgentService,
  type AttestationRequest,
  type AttestationTokenRequest,
  type CallContext,
  implement,
  ManagerService,
  type RpcServer,
  serve,
  type TlsServer,
} from "../proto/mod.ts";
import { run } from "./run.ts";
import { type Sink, Terminal } from "./terminal.ts";

/** What an agent was sent in one upload. */
export interface Upload {
  readonly method: string;
  readonly metadata: Record<string, readonly string[]>;
  /** One entry a message: which field, its length, the file name. */
  readonly messages: { field: string; length: number; filename?: string }[];
  readonly bytes: Uint8Array[];
}

/** How the fake agent answers. */
export interface AgentScript {
  /** Error for every upload and result. */
  readonly error?: CocosError;
  /** Archive `result` sends, cut in these pieces. */
  readonly result?: readonly Uint8Array[];
  /** `file-size` header; absent, the true size; empty, no header. */
  readonly fileSize?: string;
  /** Ends the result with this error after its pieces. */
  readonly resultError?: CocosError;
  /** Evidence for `attestation`, cut in these pieces, and what was asked. */
  readonly evidence?: (request: AttestationRequest) => readonly Uint8Array[];
  /** List and PCR 10 for `iMAMeasurements`. */
  readonly ima?: { readonly file: Uint8Array; readonly pcr10: Uint8Array };
  /** Token for `azureAttestationToken`. */
  readonly token?: (request: AttestationTokenRequest) => Uint8Array;
  /** Called when a result call has sent everything; the call ends when it resolves. */
  readonly beforeEnd?: (call: CallContext) => Promise<void>;
}

/** A running fake agent. */
export interface FakeAgent extends AsyncDisposable {
  readonly url: string;
  readonly uploads: Upload[];
}

const HEADERS = ["user-id", "signature", "algo_type", "algo_args", "python_runtime", "decompress"];

/** An error as the Go agent sends it: UNKNOWN with a text. */
export function goError(text: string): CocosError {
  return new CocosError("remote", text, { status: Status.UNKNOWN });
}

/** Starts a fake agent. */
export async function fakeAgent(script: AgentScript = {}, tls?: TlsServer): Promise<FakeAgent> {
  const uploads: Upload[] = [];
  const begin = (call: CallContext): Upload => {
    const metadata = Object.fromEntries(
      HEADERS.map((key) => [key, call.metadata.get(key)] as const)
        .filter(([, values]) => values.length > 0),
    );
    const upload: Upload = { method: call.method, metadata, messages: [], bytes: [] };
    uploads.push(upload);
    return upload;
  };
  const refuse = () => Promise.reject(new CocosError("not-supported", "not in this test"));
  const server: RpcServer = await serve({
    host: "127.0.0.1",
    port: 0,
    healthName: "agent",
    ...(tls === undefined ? {} : { tls }),
    services: [implement(AgentService, {
      algo: async (requests, call) => {
        const upload = begin(call);
        if (script.error !== undefined) throw script.error;
        for await (const { algorithm, requirements } of requests) {
          const [field, bytes] = requirements.length > 0
            ? ["requirements", requirements]
            : ["algorithm", algorithm];
          upload.messages.push({ field: field as string, length: (bytes as Uint8Array).length });
          upload.bytes.push(bytes as Uint8Array);
        }
        return {};
      },
      data: async (requests, call) => {
        const upload = begin(call);
        if (script.error !== undefined) throw script.error;
        for await (const { dataset, filename } of requests) {
          upload.messages.push({ field: "dataset", length: dataset.length, filename });
          upload.bytes.push(dataset);
        }
        return {};
      },
      result: async function* (_request, call) {
        begin(call);
        if (script.error !== undefined) throw script.error;
        const pieces = script.result ?? [];
        const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
        const announced = script.fileSize ?? String(size);
        if (announced !== "") call.sendHeaders({ "file-size": announced });
        for (const file of pieces) yield { file };
        await script.beforeEnd?.(call);
        if (script.resultError !== undefined) throw script.resultError;
      },
      attestation: async function* (request) {
        if (script.error !== undefined) throw script.error;
        if (script.evidence === undefined) yield await refuse();
        for (const file of script.evidence?.(request) ?? []) yield { file };
      },
      iMAMeasurements: async function* () {
        if (script.ima === undefined) yield await refuse();
        else yield script.ima;
      },
      azureAttestationToken: async (request) =>
        script.token === undefined ? await refuse() : { file: script.token(request) },
    })],
  });
  return {
    url: `127.0.0.1:${server.port}`,
    uploads,
    [Symbol.asyncDispose]: () => server.close(0),
  };
}

/** A running fake manager. */
export interface FakeManager extends AsyncDisposable {
  readonly url: string;
  readonly requests: Record<string, unknown>[];
}

/** Starts a fake manager. */
export async function fakeManager(error?: CocosError): Promise<FakeManager> {
  const requests: Record<string, unknown>[] = [];
  const server = await serve({
    host: "127.0.0.1",
    port: 0,
    healthName: "manager",
    services: [implement(ManagerService, {
      createVm: ({ $typeName: _, ...request }) => {
        requests.push(request);
        if (error !== undefined) return Promise.reject(error);
        return Promise.resolve({
          cvmId: "e71cdcf5-21c0-4e1d-9471-ac6b4389d5f3",
          forwardedPort: "6100",
        });
      },
      removeVm: ({ cvmId }) => {
        requests.push({ cvmId });
        return error === undefined ? Promise.resolve({}) : Promise.reject(error);
      },
      cVMInfo: ({ id }) => Promise.resolve({ id }),
      attestationPolicy: ({ id }) => Promise.resolve({ id }),
    })],
  });
  return {
    url: `127.0.0.1:${server.port}`,
    requests,
    [Symbol.asyncDispose]: () => server.close(0),
  };
}

/** Outputs of one run. */
export interface Outcome {
  readonly exit: Exit;
  readonly out: string;
  readonly err: string;
}

/** Options of {@linkcode cocos}. */
export interface RunOptions {
  readonly env?: Record<string, string>;
  readonly terminal?: boolean;
  /** What a person types, when it is a terminal. */
  readonly answers?: readonly string[];
  readonly color?: boolean;
  readonly signal?: AbortSignal;
  readonly now?: number;
}

/** Runs the CLI in this process. */
export async function cocos(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const { env = {}, terminal = false, color = false } = options;
  const answers = [...options.answers ?? []];
  const texts = { out: "", err: "" };
  const sink = (name: "out" | "err"): Sink => ({
    isTerminal: terminal,
    write: (text) => {
      texts[name] += text;
    },
  });
  const exit = await run({
    argv,
    env: (name) => env[name],
    signal: options.signal ?? new AbortController().signal,
    ...(options.now === undefined ? {} : { now: () => options.now as number }),
    terminal: (json) =>
      new Terminal({
        out: sink("out"),
        err: sink("err"),
        input: { isTerminal: terminal, line: () => Promise.resolve(answers.shift()) },
        json,
        color,
        columns: 60,
      }),
  });
  return { exit, ...texts };
}

/** Runs `work` with a fresh directory that goes away afterwards. */
export async function inFolder(work: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "cocos-cli-" });
  try {
    await work(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
