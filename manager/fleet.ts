// All VMs of this manager: who may come in, who is there, who is leaving. Callers are not trusted to
// call once, in order, or one at a time.
import { CocosError, formatDuration, logger, messageOf, Status } from "../base/mod.ts";
import { type Clock, systemClock } from "./clock.ts";
import { adoptVms } from "./adopt.ts";
import type { Config } from "./config.ts";
import { createVm, type Step } from "./create.ts";
import { removeAll, StateFolder } from "./folder.ts";
import type { Launch } from "./launch.ts";
import { canBind, Ports } from "./ports.ts";
import { recordEnd } from "./record.ts";
import type { VmRequest } from "./request.ts";
import type { RunningVm } from "./vm.ts";

const log = logger("manager");

/** What a fleet needs. */
export interface FleetOptions {
  readonly config: Config;
  /** Which accelerator VMs use; asked at each creation, answered once the probe is done. */
  readonly accel: () => Promise<"kvm" | "tcg">;
  /** Throws where the image isn't what its builder made; asked at each creation. */
  readonly checkImage?: () => Promise<void>;
  readonly clock?: Clock;
  /** Told of each finished step of a creation. */
  readonly step?: (step: Step, id: string) => void;
  /** Whether a port could be bound; the operating system by default. */
  readonly isFree?: (port: number) => boolean;
}

/** A VM as callers see it. */
export interface VmView {
  readonly id: string;
  readonly port: number;
}

interface Place {
  readonly id: string;
  port: number;
  vm: RunningVm | undefined;
  cancelTtl: () => void;
  removal: Promise<void> | undefined;
  launch: Launch | undefined;
}

/** The VMs of one state folder. */
export class Fleet implements AsyncDisposable {
  readonly #options: FleetOptions;
  readonly #folder: StateFolder;
  readonly #ports: Ports;
  readonly #clock: Clock;
  readonly #places = new Map<string, Place>();
  readonly #creations = new Set<Promise<unknown>>();
  #ends: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(options: FleetOptions, folder: StateFolder) {
    const { config } = options;
    this.#options = options;
    this.#folder = folder;
    this.#clock = options.clock ?? systemClock;
    this.#ports = new Ports(
      config.ports,
      options.isFree ?? ((port) => canBind(config.forwardAddress, port)),
    );
  }

  /**
   * Locks the state folder and takes back the VMs an earlier manager left running.
   *
   * @throws {CocosError} `conflict` while another manager is there.
   */
  static async open(options: FleetOptions): Promise<Fleet> {
    const folder = await StateFolder.open(options.config.stateDir);
    const fleet = new Fleet(options, folder);
    try {
      for (const { vm, port, until, launch } of await adoptVms(folder, () => fleet.#clock.now())) {
        fleet.#ports.hold(port);
        const place = { id: vm.id, port, vm, cancelTtl: () => {}, removal: undefined, launch };
        fleet.#settle(place, vm, until);
      }
      return fleet;
    } catch (error) {
      await fleet[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The VMs that run. */
  list(): VmView[] {
    return [...this.#places.values()].filter((each) => each.vm !== undefined)
      .map(({ id, port }) => ({ id, port }));
  }

  /** True when a VM of that id runs. */
  has(id: string): boolean {
    return this.#places.get(id)?.vm !== undefined;
  }

  /** What a running VM was launched from, where that was noted. */
  launch(id: string): Launch | undefined {
    return this.#places.get(id)?.launch;
  }

  /**
   * Creates a VM.
   *
   * @throws {CocosError} `exhausted` at the limit, or what failed, after all of it is undone.
   */
  async create(request: VmRequest): Promise<VmView> {
    const { config } = this.#options;
    if (this.#closed) throw new CocosError("unavailable", "the manager is stopping");
    // The place is taken before the first await, so creations at once count (threats N-4).
    if (config.maxVms > 0 && this.#places.size >= config.maxVms) {
      throw new CocosError("exhausted", "maximum number of VMs exceeded", {
        hint: "Remove a VM, or raise MANAGER_MAX_VMS.",
      });
    }
    const id = crypto.randomUUID();
    const place: Place = {
      id,
      port: 0,
      vm: undefined,
      cancelTtl: () => {},
      removal: undefined,
      launch: undefined,
    };
    this.#places.set(id, place);
    const creation = createVm(
      {
        config,
        folder: this.#folder,
        ports: this.#ports,
        accel: this.#options.accel,
        checkImage: this.#options.checkImage ?? (() => Promise.resolve()),
        now: () => this.#clock.now(),
        step: (step, of) => {
          log.with({ cvm: of }).debug`creation: ${step} done`;
          this.#options.step?.(step, of);
        },
      },
      id,
      request,
    );
    this.#creations.add(creation);
    try {
      const { vm, spec, record } = await creation;
      place.port = spec.port;
      place.launch = record.launch;
      this.#settle(place, vm, record.until);
      return { id, port: spec.port };
    } catch (error) {
      this.#places.delete(id);
      throw error;
    } finally {
      this.#creations.delete(creation);
    }
  }

  /**
   * Removes a VM and all that was made for it. Callers at once share one removal.
   *
   * @throws {CocosError} `not-found` with the Go manager's text and status; `timeout` when its QEMU
   * can't be ended.
   */
  remove(id: string): Promise<void> {
    const place = this.#places.get(id);
    if (place?.vm === undefined) {
      return Promise.reject(
        new CocosError("not-found", "entity not found", { status: Status.UNKNOWN }),
      );
    }
    const { vm } = place;
    place.removal ??= (async () => {
      try {
        place.cancelTtl();
        await vm.stop(this.#options.config.stopGraceMs);
        await this.#clear(place);
      } catch (error) {
        place.removal = undefined;
        throw error;
      }
    })();
    return place.removal;
  }

  /** Removes every VM; the errors are logged. */
  async removeEvery(): Promise<void> {
    await Promise.allSettled(this.#creations);
    const removals = this.list().map(({ id }) => this.remove(id));
    for (const result of await Promise.allSettled(removals)) {
      if (result.status === "rejected") {
        log.error`a VM could not be removed: ${messageOf(result.reason)}`;
      }
    }
  }

  /** Lets go of the VMs, which run on, and of the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#creations);
    for (const place of this.#places.values()) {
      place.cancelTtl();
      await place.removal?.catch(() => {});
      await place.vm?.release();
    }
    await this.#ends;
    this.#folder[Symbol.dispose]();
  }

  /** From now on the VM is there: watched, and removed when its time is over. */
  #settle(place: Place, vm: RunningVm, until: number | undefined): void {
    place.vm = vm;
    this.#places.set(place.id, place);
    if (until !== undefined) place.cancelTtl = this.#clock.at(until, () => this.#expire(place));
    vm.gone.then((end) => {
      if (this.#closed || place.removal !== undefined) return;
      place.removal = this.#bury(place, vm, end);
    });
  }

  #expire(place: Place): void {
    if (this.#closed) return;
    this.remove(place.id).then(
      () => log.info("Successfully removed VM after TTL expiry", { cvm: place.id }),
      (error) => log.with({ cvm: place.id }).error`a VM outlived its TTL: ${messageOf(error)}`,
    );
  }

  /** A VM ended that nobody removed (threats N-6). */
  async #bury(place: Place, vm: RunningVm, end: Awaited<RunningVm["gone"]>): Promise<void> {
    const stderr = vm.child?.stderr() ?? [];
    const how = end === undefined ? {} : {
      code: end.code,
      ...(end.signal === undefined ? {} : { signal: end.signal }),
    };
    log.error("a VM ended by itself", { cvm: place.id, port: place.port, ...how, stderr });
    const ended = new Date(this.#clock.now()).toISOString();
    this.#ends = this.#ends
      .then(() =>
        recordEnd(this.#folder.ends, { id: place.id, port: place.port, ended, ...how, stderr })
      )
      .catch((error) => log.warn`an end could not be recorded: ${messageOf(error)}`);
    await this.#ends;
    try {
      await this.#clear(place);
    } catch (error) {
      log.with({ cvm: place.id }).error`the rest of a VM could not be removed: ${messageOf(error)}`;
    }
  }

  /** Frees everything a VM had: control connection, files, port, place. */
  async #clear(place: Place): Promise<void> {
    place.cancelTtl();
    await place.vm?.release();
    await removeAll(this.#folder.socket(place.port));
    await removeAll(this.#folder.vm(place.id));
    this.#ports.release(place.port);
    this.#places.delete(place.id);
  }
}

/** The log line of the Go manager for a finished method. */
export function tookLine(what: string, ms: number, error?: unknown): string {
  const failed = error === undefined ? "." : ` with error: ${messageOf(error)}.`;
  return `${what} took ${formatDuration(Math.max(ms, 1e-3))} to complete${
    error === undefined ? "" : failed
  }`;
}
