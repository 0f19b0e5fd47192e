// A network for tests that breaks: a proxy that cuts each connection after as many bytes as the test
// says, in whatever the two ends were just saying.

/** A proxy to one port of this machine. */
export class Cutter implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #target: number;
  readonly #budget: (connection: number) => number;
  readonly #open = new Set<Promise<void>>();
  readonly #live = new Set<Deno.TcpConn>();
  #count = 0;

  /** @param budget bytes, of both directions together, after which a connection is cut */
  constructor(target: number, budget: (connection: number) => number) {
    this.#target = target;
    this.#budget = budget;
    const accepting = this.#accept();
    this.#open.add(accepting);
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  /** Connections so far. */
  get count(): number {
    return this.#count;
  }

  async #accept(): Promise<void> {
    try {
      for await (const near of this.#listener) {
        const joined = this.#join(near, this.#budget(this.#count++)).catch(() => {});
        this.#open.add(joined);
        joined.then(() => this.#open.delete(joined));
      }
    } catch {
      // Closed while it waited.
    }
  }

  async #join(near: Deno.TcpConn, budget: number): Promise<void> {
    let left = budget;
    const ends = [near];
    this.#live.add(near);
    const cut = () => {
      for (const end of ends.splice(0)) {
        this.#live.delete(end);
        end.close();
      }
    };
    const pass = async (from: Deno.TcpConn, to: Deno.TcpConn) => {
      const buffer = new Uint8Array(16_384);
      while (true) {
        const count = await from.read(buffer);
        if (count === null) return;
        const passed = buffer.subarray(0, Math.min(count, left));
        left -= passed.length;
        for (let rest = passed; rest.length > 0;) rest = rest.subarray(await to.write(rest));
        if (left <= 0) return;
      }
    };
    try {
      if (left <= 0) return;
      const far = await Deno.connect({ hostname: "127.0.0.1", port: this.#target });
      ends.push(far);
      this.#live.add(far);
      await Promise.race([pass(near, far), pass(far, near)]);
    } finally {
      cut();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const end of [...this.#live]) {
      this.#live.delete(end);
      try {
        end.close();
      } catch {
        // Cut meanwhile.
      }
    }
    await Promise.all(this.#open);
  }
}
