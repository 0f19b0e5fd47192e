// SHA3-256 beside the thread that receives or reads: a worker takes in whole blocks while the caller
// waits for the network and the disk. The worker has no rights at all, and its program is the one
// function below, so that a bundle of one file has it too (threats L-2, L-6).
import { Sha3_256 } from "./digest.ts";
import { CocosError } from "./errors.ts";
import {
  BLOCKS_AT,
  keccakModule,
  MAX_BLOCKS,
  RATE_BYTES,
  STATE_AT,
  STATE_BYTES,
} from "./keccak.ts";

/** Hashing of fewer bytes is over before a worker has started. */
export const ALONE_BYTES = 8 * 1024 * 1024;

/** Bytes of one buffer on its way to the worker: the blocks of a message of 1 MiB. */
const BUFFER_BYTES = 7_711 * RATE_BYTES;

/** What is read from a file at once. */
const READ_BYTES = 1024 * 1024;

/** Buffers on their way at once, of all hashes together; whoever finds none waits. */
const BUFFERS = 4;

/** What the worker is told first: the permutation, and where its memory has what. */
interface Start {
  readonly module: Uint8Array;
  readonly stateAt: number;
  readonly stateBytes: number;
  readonly blocksAt: number;
  readonly pageBytes: number;
  readonly blockBytes: number;
}

/** What it is told then, by the number of a hash: its state, blocks, the wish to have it back, its end. */
type Order =
  | { readonly id: number; readonly state: Uint8Array }
  | { readonly id: number; readonly blocks: Uint8Array<ArrayBuffer>; readonly length: number }
  | { readonly id: number; readonly give: true }
  | { readonly id: number; readonly forget: true };

/** What it answers: a buffer that is free again, or a state. */
type Answer = {
  readonly id: number;
  readonly free?: Uint8Array<ArrayBuffer>;
  readonly state?: Uint8Array;
};

/** The worker's program. It is sent as text: nothing outside of it can be named here. */
function hashing(scope: {
  onmessage: ((event: { data: Start | Order }) => void) | null;
  postMessage(answer: Answer, transfer?: ArrayBuffer[]): void;
}): void {
  const states = new Map<number, Uint8Array>();
  scope.onmessage = ({ data: start }) => {
    const { module, stateAt, stateBytes, blocksAt, pageBytes, blockBytes } = start as Start;
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(module)));
    const memory = (exports.memory as WebAssembly.Memory).buffer;
    const absorb = exports.absorb as (count: number) => void;
    const state = new Uint8Array(memory, stateAt, stateBytes);
    const page = new Uint8Array(memory, blocksAt, pageBytes);
    scope.onmessage = ({ data }) => {
      const order = data as Order;
      const { id } = order;
      if ("state" in order) states.set(id, order.state);
      else if ("forget" in order) states.delete(id);
      else if ("give" in order) {
        scope.postMessage({ id, state: states.get(id) as Uint8Array });
        states.delete(id);
      } else {
        const { blocks, length } = order;
        const own = states.get(id);
        if (own !== undefined) {
          state.set(own);
          for (let at = 0; at < length; at += pageBytes) {
            const some = blocks.subarray(at, Math.min(at + pageBytes, length));
            page.set(some);
            absorb(some.length / blockBytes);
          }
          own.set(state);
          state.fill(0);
          page.fill(0);
        }
        blocks.fill(0);
        scope.postMessage({ id, free: blocks }, [blocks.buffer]);
      }
    };
  };
}

/** One worker for all hashes that are long enough; it ends with the last of them. */
class Side {
  readonly #worker: Worker;
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  readonly #waiting: PromiseWithResolvers<Uint8Array<ArrayBuffer>>[] = [];
  readonly #asked = new Map<number, PromiseWithResolvers<Uint8Array>>();
  #made = 0;
  #next = 0;
  #users = 0;
  #failure: CocosError | undefined;

  private constructor() {
    const text = new Blob([`(${hashing})(globalThis)`], { type: "text/javascript" });
    const url = URL.createObjectURL(text);
    const options: WorkerOptions & { deno: { permissions: "none" } } = {
      type: "module",
      name: "sha3-256",
      deno: { permissions: "none" },
    };
    this.#worker = new Worker(url, options);
    URL.revokeObjectURL(url);
    this.#worker.onmessage = ({ data }: MessageEvent<Answer>) => this.#take(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(event.message);
    };
    const start: Start = {
      module: keccakModule(),
      stateAt: STATE_AT,
      stateBytes: STATE_BYTES,
      blocksAt: BLOCKS_AT,
      pageBytes: MAX_BLOCKS * RATE_BYTES,
      blockBytes: RATE_BYTES,
    };
    this.#worker.postMessage(start);
  }

  static #one: Side | undefined;

  /** The worker, for one more hash; it must be left again. */
  static enter(): Side {
    const side = Side.#one ??= new Side();
    side.#users++;
    return side;
  }

  /** Ends the use by a hash. */
  leave(): void {
    if (--this.#users > 0) return;
    this.#worker.terminate();
    this.#fail("nobody needs it");
  }

  /** A number for a hash that goes on here from a state. */
  open(state: Uint8Array): number {
    const id = this.#next++;
    this.#tell({ id, state });
    return id;
  }

  /** A buffer of {@linkcode BUFFER_BYTES}; waits for one. */
  async buffer(): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#failure !== undefined) throw this.#failure;
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#made < BUFFERS) {
      this.#made++;
      return new Uint8Array(BUFFER_BYTES);
    }
    const waiting = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
    this.#waiting.push(waiting);
    return await waiting.promise;
  }

  /** Takes a buffer back. */
  release(buffer: Uint8Array<ArrayBuffer>): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#free.push(buffer);
    else waiting.resolve(buffer);
  }

  /** Takes in the first `length` bytes of a buffer, which is the worker's from now on. */
  absorb(id: number, blocks: Uint8Array<ArrayBuffer>, length: number): void {
    this.#worker.postMessage({ id, blocks, length } satisfies Order, [blocks.buffer]);
  }

  /** The state of a hash after all that was sent; the worker forgets it. */
  async state(id: number): Promise<Uint8Array> {
    if (this.#failure !== undefined) throw this.#failure;
    const asked = Promise.withResolvers<Uint8Array>();
    this.#asked.set(id, asked);
    this.#tell({ id, give: true });
    return await asked.promise;
  }

  /** Drops a hash nobody wants any more. */
  forget(id: number): void {
    this.#tell({ id, forget: true });
  }

  #tell(order: Order): void {
    this.#worker.postMessage(order);
  }

  #take({ id, free, state }: Answer): void {
    if (state !== undefined) {
      this.#asked.get(id)?.resolve(state);
      this.#asked.delete(id);
    }
    if (free !== undefined) this.release(free);
  }

  #fail(message: string): void {
    const failure = new CocosError("internal", `Cannot hash: the worker ended: ${message}`);
    this.#failure = failure;
    if (Side.#one === this) Side.#one = undefined;
    for (const { reject } of [...this.#waiting.splice(0), ...this.#asked.values()]) reject(failure);
    this.#asked.clear();
  }
}

/** A running SHA3-256 of many bytes; one use. Dispose it. */
export class Hasher implements Disposable {
  #alone: Sha3_256 | undefined = new Sha3_256();
  #size = 0;
  #side: { readonly worker: Side; readonly id: number } | undefined;
  /** Bytes that don't fill a block yet. */
  readonly #rest = new Uint8Array(RATE_BYTES);
  #held = 0;

  /**
   * Adds bytes; they may be reused when the promise resolves, which it may do before they are hashed.
   * One call at a time.
   */
  async update(bytes: Uint8Array): Promise<void> {
    this.#size += bytes.length;
    if (this.#alone !== undefined && this.#size <= ALONE_BYTES) {
      this.#alone.update(bytes);
      return;
    }
    const { worker, id } = this.#side ?? this.#move();
    for (let left = bytes; left.length > 0;) {
      if (this.#held + left.length < RATE_BYTES) {
        this.#rest.set(left, this.#held);
        this.#held += left.length;
        return;
      }
      const buffer = await worker.buffer();
      if (this.#side === undefined) {
        worker.release(buffer);
        throw ended();
      }
      const some = left.subarray(0, BUFFER_BYTES - this.#held);
      buffer.set(this.#rest.subarray(0, this.#held));
      buffer.set(some, this.#held);
      const filled = this.#held + some.length;
      const whole = filled - filled % RATE_BYTES;
      this.#rest.set(some.subarray(some.length - (filled - whole)));
      this.#held = filled - whole;
      worker.absorb(id, buffer, whole);
      left = left.subarray(some.length);
    }
  }

  /** The digest, 32 bytes; the object can't be used afterwards. */
  async digest(): Promise<Uint8Array> {
    let hash = this.#alone;
    if (hash === undefined) {
      if (this.#side === undefined) throw ended();
      const { worker, id } = this.#side;
      hash = Sha3_256.from(await worker.state(id)).update(this.#rest.subarray(0, this.#held));
    }
    this[Symbol.dispose]();
    return hash.digest();
  }

  /** The digest of the bytes so far. Comes back from the worker: it may be long until more follow. */
  async pause(): Promise<Uint8Array> {
    let hash = this.#alone;
    if (hash === undefined) {
      if (this.#side === undefined) throw ended();
      const { worker, id } = this.#side;
      hash = Sha3_256.from(await worker.state(id)).update(this.#rest.subarray(0, this.#held));
      worker.leave();
      this.#side = undefined;
      this.#alone = hash;
    }
    return hash.copy().digest();
  }

  /** Goes on in the worker. */
  #move(): { readonly worker: Side; readonly id: number } {
    if (this.#alone === undefined) throw ended();
    const { state, rest } = this.#alone.leave();
    this.#alone = undefined;
    this.#rest.set(rest);
    this.#held = rest.length;
    const worker = Side.enter();
    return this.#side = { worker, id: worker.open(state) };
  }

  [Symbol.dispose](): void {
    this.#alone = undefined;
    this.#rest.fill(0);
    const side = this.#side;
    this.#side = undefined;
    if (side === undefined) return;
    side.worker.forget(side.id);
    side.worker.leave();
  }
}

function ended(): CocosError {
  return new CocosError("internal", "Cannot go on with a digest that has ended");
}

/** SHA3-256 of a stream of chunks. */
export async function digestOf(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  using hash = new Hasher();
  for await (const chunk of chunks) await hash.update(chunk);
  return await hash.digest();
}

/** SHA3-256 of a file. */
export async function digestFile(path: string | URL): Promise<Uint8Array> {
  using file = await Deno.open(path, { read: true });
  using hash = new Hasher();
  const buffer = new Uint8Array(READ_BYTES);
  for (let count; (count = await file.read(buffer)) !== null;) {
    await hash.update(buffer.subarray(0, count));
  }
  return await hash.digest();
}
