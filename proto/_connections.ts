// Which connections a server keeps: so many in all, so many of one address, and when it is full, those
// that move something before those that only sit there (threats G-8). Peers are not trusted.
import type net from "node:net";

/** What is looked at of a socket. */
export type Counted = Pick<net.Socket, "bytesRead" | "bytesWritten" | "destroy"> & {
  readonly remoteAddress?: string | undefined;
};

/** A connection on which nothing moved for this long makes room for a new one. */
export const QUIET_MS = 10_000;

/** Bounds of a {@linkcode Connections}. */
export interface ConnectionLimits {
  readonly total: number;
  readonly perPeer: number;
}

/** The connections of one server. */
export class Connections<S extends Counted> {
  readonly #limits: ConnectionLimits;
  readonly #now: () => number;
  readonly #open = new Map<S, { bytes: number; movedAt: number }>();

  /** @param now milliseconds of a clock that nobody can set back */
  constructor(limits: ConnectionLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
  }

  /** All of them. */
  get open(): Iterable<S> {
    return this.#open.keys();
  }

  /** Takes a new one in, if need be in the place of one that is quiet; `false` when there is none. */
  add(socket: S): boolean {
    const { total, perPeer } = this.#limits;
    const same = [...this.#open.keys()].filter(({ remoteAddress }) =>
      remoteAddress === socket.remoteAddress
    );
    if (same.length >= perPeer && !this.#makeRoom(same)) return false;
    if (this.#open.size >= total && !this.#makeRoom([...this.#open.keys()])) return false;
    this.#open.set(socket, { bytes: 0, movedAt: this.#now() });
    return true;
  }

  /** One has closed. */
  remove(socket: S): void {
    this.#open.delete(socket);
  }

  /** Ends the one of these that has been quiet longest, if it was for long enough. */
  #makeRoom(among: readonly S[]): boolean {
    const now = this.#now();
    let quietest: S | undefined;
    let since = now - QUIET_MS;
    for (const socket of among) {
      const seen = this.#open.get(socket);
      if (seen === undefined) continue;
      const bytes = socket.bytesRead + socket.bytesWritten;
      if (bytes !== seen.bytes) Object.assign(seen, { bytes, movedAt: now });
      if (seen.movedAt > since) continue;
      quietest = socket;
      since = seen.movedAt;
    }
    if (quietest === undefined) return false;
    this.#open.delete(quietest);
    quietest.destroy();
    return true;
  }
}
