// Challenges of signed requests: random, for one connection, for one use, for a short time by the
// monotonic clock (threats G-2, H-5). Whoever can connect may ask for them.
import { CocosError } from "../base/mod.ts";

/** Bytes of a challenge. */
export const CHALLENGE_BYTES = 32;

/** Seconds a challenge works: a party asks for it when it is ready to sign. */
export const CHALLENGE_SECONDS = 60;

/** Most challenges of one connection that wait for their request; one connection can't take another's. */
export const MAX_CHALLENGES = 64;

/** The challenges of one computation's front door. */
export class Challenges {
  // By connection: they go with it, and no peer can name another's.
  readonly #given = new WeakMap<object, Map<string, number>>();
  readonly #now: () => number;

  /** @param now milliseconds of a clock that nobody can set back */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * A fresh challenge for a connection.
   *
   * @throws {CocosError} `exhausted`.
   */
  give(connection: object): Uint8Array<ArrayBuffer> {
    const given = this.#given.get(connection) ?? new Map<string, number>();
    this.#given.set(connection, given);
    const now = this.#now();
    for (const [challenge, at] of given) {
      if (now - at >= CHALLENGE_SECONDS * 1_000) given.delete(challenge);
    }
    if (given.size >= MAX_CHALLENGES) {
      throw new CocosError(
        "exhausted",
        `Cannot give a connection more than ${MAX_CHALLENGES} challenges at once`,
        { hint: `Use those that were given, or ask again in ${CHALLENGE_SECONDS} s.` },
      );
    }
    const challenge = crypto.getRandomValues(new Uint8Array(CHALLENGE_BYTES));
    given.set(challenge.toHex(), now);
    return challenge;
  }

  /**
   * Uses a challenge up.
   *
   * @param challenge hexadecimal
   * @returns seconds since it was given; `undefined` when this connection has no such challenge
   */
  take(connection: object, challenge: string): number | undefined {
    const given = this.#given.get(connection);
    const at = given?.get(challenge);
    if (at === undefined) return undefined;
    given?.delete(challenge);
    const age = (this.#now() - at) / 1_000;
    return age < CHALLENGE_SECONDS ? age : undefined;
  }
}
