// Host ports of the VMs. A port is held from the moment it is chosen until its VM is gone, so two
// creations at once never get the same (threats N-4); other programs of the host may take any.
import { CocosError } from "../base/mod.ts";
import type { PortRange } from "./settings.ts";

/** The ports of a range and who holds them. */
export class Ports {
  readonly #range: PortRange;
  readonly #isFree: (port: number) => boolean;
  readonly #held = new Set<number>();

  /** `isFree` asks the operating system; see {@linkcode canBind}. */
  constructor(range: PortRange, isFree: (port: number) => boolean) {
    this.#range = range;
    this.#isFree = isFree;
  }

  /**
   * Takes the lowest free port.
   *
   * @throws {CocosError} `exhausted`, with the text of the Go manager.
   */
  take(): number {
    for (let port = this.#range.first; port <= this.#range.last; port++) {
      if (this.#held.has(port) || !this.#isFree(port)) continue;
      this.#held.add(port);
      return port;
    }
    throw new CocosError(
      "exhausted",
      "failed to allocate free port on host : failed to find free port in range " +
        `${this.#range.first}-${this.#range.last}`,
      { hint: "Remove a VM, or widen MANAGER_QEMU_HOST_FWD_RANGE." },
    );
  }

  /** Takes this very port, of a VM that was found running. */
  hold(port: number): void {
    this.#held.add(port);
  }

  /** Gives a port back; unknown ports are ignored. */
  release(port: number): void {
    this.#held.delete(port);
  }

  /** How many ports are held. */
  get count(): number {
    return this.#held.size;
  }
}

/** True when a listener could be bound there now; an empty address means every interface. */
export function canBind(address: string, port: number): boolean {
  try {
    Deno.listen({ hostname: address === "" ? "0.0.0.0" : address, port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}
