// A folder with keys and assets, and an agent that dials the server, for the tests of this room.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { connect, type cvms, CvmsService, generateKeys } from "../proto/mod.ts";

/** A public key that is made once a run. */
export const KEYS = await generateKeys("ed25519");

/** Runs `work` in a fresh folder with `pub.pem`, `algo.py`, `a.csv` and the directory `d/`. */
export async function inFolder(work: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "cocos-computations-" });
  try {
    await Deno.writeTextFile(`${dir}/pub.pem`, KEYS.publicPem);
    await Deno.writeTextFile(`${dir}/algo.py`, "print(1)\n");
    await Deno.writeTextFile(`${dir}/a.csv`, "hello\n");
    await Deno.mkdir(`${dir}/d`);
    await Deno.writeTextFile(`${dir}/d/x`, "x");
    await work(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

type Whole = MessageInitShape<typeof cvms.ClientStreamMessageSchema>;
type Message = NonNullable<Whole["message"]>;

/** An agent on the other side of a real socket. */
export interface FakeAgent extends AsyncDisposable {
  say(message: Message): void;
  /** Sends a message with its number. */
  send(message: Whole): void;
  /** The next message of the server; nothing when it has ended the stream. */
  next(): Promise<cvms.ServerStreamMessage["message"] | undefined>;
  /** Goes away, as an agent that loses its connection. */
  hangUp(): Promise<void>;
}

/** Dials a server on loopback. */
export function dial(port: number, metadata: Record<string, string> = {}): FakeAgent {
  const client = connect(CvmsService, {
    target: { host: "127.0.0.1", port },
    security: { kind: "none" },
  });
  const queue: Whole[] = [];
  let over = false;
  let wake = () => {};
  async function* outgoing() {
    while (true) {
      for (let each = queue.shift(); each !== undefined; each = queue.shift()) {
        yield each;
      }
      if (over) return;
      await new Promise<void>((resolve) => wake = resolve);
    }
  }
  const answers = client.process(outgoing(), { metadata }) as unknown as AsyncIterable<
    cvms.ServerStreamMessage
  >;
  const incoming = answers[Symbol.asyncIterator]();
  const agent: FakeAgent = {
    say: (message) => agent.send({ message }),
    send(message) {
      queue.push(message);
      wake();
    },
    async next() {
      const { done, value } = await incoming.next();
      return done === true ? undefined : value.message;
    },
    async hangUp() {
      if (over) return;
      over = true;
      wake();
      await incoming.return?.();
      await client[Symbol.asyncDispose]();
    },
    [Symbol.asyncDispose]: () => agent.hangUp(),
  };
  return agent;
}
