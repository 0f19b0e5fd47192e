// One run in a container, from the uploaded archive to the removal of everything made for it. Whatever
// the engine does, nothing of the run is alive when it is told to have ended.
import { CocosError, type Logger, messageOf } from "../../base/mod.ts";
import type { EngineAccess, Execution, Job, Launch, Stage } from "../contract.ts";
import { type Ending, INSIDE_ID } from "../sandbox/mod.ts";
import { Archive } from "./archive.ts";
import { commandOf } from "./config.ts";
import { checkMade, containerBody } from "./container.ts";
import { clean, Engine, field, strange } from "./engine.ts";
import { type Image, readImage } from "./image.ts";
import {
  type Names,
  namesOf,
  removeContainer,
  removeImage,
  removeLeftovers,
  unlessGone,
} from "./leftovers.ts";
import { readOutput } from "./output.ts";

/** Time an engine has for all of the clean-up; what it leaves is removed by a later one. */
const CLEAN_MS = 60_000;
/** The same after a run was ended by us: somebody waits for that. */
const CUT_CLEAN_MS = 6_000;
/**
 * Time a call that makes something may still take once the run was ended: given up at once, the
 * engine would make it behind our back, after the clean-up.
 */
const MAKE_MS = 3_000;
/** Time an engine has to end a container before we end its processes ourselves. */
const OBEY_MS = 2_000;
/** Longest time killed processes may take to go away. */
const DEATH_MS = 5_000;
/** Time between two looks whether they are gone. */
const LOOK_MS = 5;
/** Time the rest of the output has to come once the container has ended. */
const DRAIN_MS = 5_000;

/** The start of a job in a container. */
export function inContainer(job: Job, access: EngineAccess): Launch {
  return (stage) => new ContainerRun(job, access, stage);
}

/** What an engine says of itself that matters here. */
interface Host {
  readonly swapLimit: boolean;
  readonly cpus: number;
  readonly user: string;
  readonly cgroupParent: string | undefined;
}

class ContainerRun implements Execution {
  readonly released: Promise<boolean>;
  readonly ended: Promise<Ending>;
  readonly #job: Job;
  readonly #access: EngineAccess;
  readonly #stage: Stage;
  readonly #cut = new AbortController();
  /** Aborted {@linkcode MAKE_MS} after that. */
  readonly #late = new AbortController();
  readonly #release = Promise.withResolvers<boolean>();
  /** Why something of the run may be alive still; never told as an ending. */
  #alive: CocosError | undefined;

  constructor(job: Job, access: EngineAccess, stage: Stage) {
    this.#job = job;
    this.#access = access;
    this.#stage = stage;
    this.released = this.#release.promise;
    this.released.catch(() => {});
    this.ended = this.#run();
    this.ended.catch(() => {});
  }

  kill(): void {
    if (this.#cut.signal.aborted) return;
    this.#cut.abort(new CocosError("cancelled", "The run was ended"));
    const timer = setTimeout(() => this.#late.abort(this.#cut.signal.reason), MAKE_MS);
    this.ended.catch(() => {}).finally(() => clearTimeout(timer));
    this.#stage.group.kill();
  }

  async #run(): Promise<Ending> {
    let ending: Ending;
    try {
      ending = await this.#attempt();
    } catch (error) {
      if (!this.#cut.signal.aborted || this.#alive !== undefined) {
        this.#release.reject(error);
        throw error;
      }
      ending = { kind: "killed" };
    }
    this.#release.resolve(false);
    return this.#cut.signal.aborted ? { kind: "killed" } : ending;
  }

  async #attempt(): Promise<Ending> {
    const { signal } = this.#cut;
    using archive = await Archive.open(`${this.#job.directory}/algo`);
    const image = await readImage(archive, signal);
    const command = commandOf(image.config, this.#job.args);
    const engine = await Engine.at(this.#access.socket, signal);
    const host = await hostOf(engine, this.#job, this.#access.cgroup, signal);
    const { owner } = this.#access;
    await removeLeftovers(engine, owner, this.#stage.log, signal);
    using names = namesOf(owner, this.#job.id);
    try {
      await load(engine, image, names.tag, this.#late.signal);
      signal.throwIfAborted();
      await this.#create(engine, host, image, command, names);
      return await this.#follow(engine, names.container);
    } finally {
      await this.#end(engine, names, host);
    }
  }

  async #create(
    engine: Engine,
    host: Host,
    image: Image,
    command: readonly string[],
    { container, labels }: Names,
  ): Promise<void> {
    const { directory, limits } = this.#job;
    const { environment, workdir } = image.config;
    const body = containerBody({
      image: `sha256:${image.id}`,
      command,
      environment,
      workdir,
      labels,
      datasets: `${directory}/datasets`,
      results: `${directory}/results`,
      limits,
      ...host,
    });
    const { signal } = this.#cut;
    await engine.call({
      method: "POST",
      purpose: "make a container",
      path: "/containers/create",
      query: { name: container },
      body,
      signal: this.#late.signal,
    });
    const made = await engine.call({
      method: "GET",
      purpose: "show a container",
      path: `/containers/${container}/json`,
      signal,
    });
    checkMade(body, field(made, "a container"));
  }

  /** Starts the container, passes its output on, and answers how it ended. */
  async #follow(engine: Engine, container: string): Promise<Ending> {
    const { signal } = this.#cut;
    const post = { method: "POST", signal } as const;
    const path = `/containers/${container}`;
    const output = await engine.open({
      ...post,
      purpose: "pass output on",
      path: `${path}/attach`,
      query: { stream: "1", stdout: "1", stderr: "1" },
    });
    // Asked before the start: one that ends at once is not missed.
    const waiting = await engine.open({
      ...post,
      purpose: "tell a container's end",
      path: `${path}/wait`,
      query: { condition: "next-exit" },
    });
    const drained = readOutput(output, this.#stage.onOutput).catch((error) => {
      // The run's end tells more than the end of its output.
      this.#stage.log.debug("output broke off", { error: messageOf(error) });
    });
    try {
      await engine.call({ ...post, purpose: "start the algorithm", path: `${path}/start` });
    } catch (error) {
      if (signal.aborted || !(error instanceof CocosError) || error.code === "unavailable") {
        throw error;
      }
      return { kind: "not-started", reason: error.message };
    }
    this.#release.resolve(true);
    await ended(waiting);
    await within(drained, DRAIN_MS);
    output.destroy();
    const shown = await engine.call({
      method: "GET",
      purpose: "tell how a container ended",
      path: `${path}/json`,
      signal,
    });
    return endingOf(field(field(shown, "a container")["State"], "a container's state"));
  }

  /** Ends and removes everything, with the engine if it obeys, and without it if not. */
  async #end(engine: Engine, { container, tag }: Names, host: Host): Promise<void> {
    const { log } = this.#stage;
    const cut = this.#cut.signal.aborted;
    const signal = AbortSignal.timeout(cut ? CUT_CLEAN_MS : CLEAN_MS);
    let ended = false;
    const removed = (async () => {
      await removeContainer(engine, container, signal);
      ended = true;
      await removeImage(engine, tag, signal);
    })().catch((error) => {
      log.error("a container stays until the next one is started", { error: messageOf(error) });
    });
    await within(removed, OBEY_MS);
    await this.#emptied(host);
    await removed;
    if (cut && !ended && host.cgroupParent === undefined) {
      throw this.#alive = new CocosError(
        "internal",
        "Cannot end the run: the container engine does not end it, and has no control group of ours",
      );
    }
  }

  async #emptied({ cgroupParent }: Host): Promise<void> {
    if (cgroupParent === undefined) return;
    const { group, kill } = this.#stage;
    const until = performance.now() + DEATH_MS;
    while (group.populated()) {
      if (performance.now() > until) {
        throw this.#alive = new CocosError(
          "internal",
          "Cannot end the run: killed processes do not go away",
        );
      }
      group.kill();
      const members = group.members();
      if (members.length > 0) await kill(members);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }
}

/** Looks whether an engine can hold an algorithm (threats S-19), and how it must be asked to. */
async function hostOf(
  engine: Engine,
  job: Job,
  cgroup: string | undefined,
  signal: AbortSignal,
): Promise<Host> {
  const info = field(
    await engine.call({ method: "GET", purpose: "describe itself", path: "/info", signal }),
    "its description",
  );
  const options = Array.isArray(info["SecurityOptions"]) ? info["SecurityOptions"].map(String) : [];
  const has = (name: string) =>
    options.some((each) => each === `name=${name}` || each.startsWith(`name=${name},`));
  const cgroupParent = cgroup === undefined || info["CgroupDriver"] !== "cgroupfs"
    ? undefined
    : `${cgroup}/${job.id}`;
  const swapLimit = info["SwapLimit"] === true;
  const missing = [
    has("seccomp") ? undefined : "filters for system calls",
    info["MemoryLimit"] === true ? undefined : "memory limits",
    info["PidsLimit"] === true ? undefined : "limits for processes",
    swapLimit || cgroupParent !== undefined ? undefined : "limits for swap",
    has("rootless") ? "a user of its own that is root" : undefined,
  ].find((each) => each !== undefined);
  if (missing !== undefined) {
    throw new CocosError("not-supported", `The container engine isn't fit: it lacks ${missing}`);
  }
  const cpus = info["NCPU"];
  if (typeof cpus !== "number" || !(cpus >= 1)) throw strange("its description");
  // In a user namespace the ids inside are those of the sandbox; the engine's map leads them to ours.
  const { gid } = await Deno.lstat(`${job.directory}/results`);
  return {
    swapLimit,
    cpus,
    user: has("userns") ? `${INSIDE_ID}:${INSIDE_ID}` : `${Deno.uid()}:${gid}`,
    cgroupParent,
  };
}

/** Gives the engine the image; what it has must then be what was checked. */
async function load(
  engine: Engine,
  image: Image,
  tag: string,
  signal: AbortSignal,
): Promise<void> {
  const find = { method: "GET", path: `/images/sha256:${image.id}/json`, signal } as const;
  const before = await engine.call({ ...find, purpose: "look for the image" }).catch(unlessGone);
  // An image without any name would go with ours.
  if (before !== undefined && namesIn(before) === 0) return;
  const purpose = "take the image";
  const answer = await engine.lines({
    method: "POST",
    purpose,
    path: "/images/load",
    query: { quiet: "1" },
    archive: image.archive(tag),
    signal,
  });
  for (const line of answer) {
    const error = field(line, "an answer to an image")["error"];
    if (error !== undefined) {
      throw new CocosError("remote", `The container engine can't ${purpose}: ${clean(`${error}`)}`);
    }
  }
  const found = field(await engine.call({ ...find, purpose: "find what it took" }), "an image");
  if (found["Id"] !== `sha256:${image.id}`) throw strange("another image than it was asked for");
}

function namesIn(image: unknown): number {
  const tags = field(image, "an image")["RepoTags"];
  return Array.isArray(tags) ? tags.length : 0;
}

/** Waits for the engine to tell a container's end. */
async function ended(response: AsyncIterable<Uint8Array>): Promise<void> {
  let bytes = 0;
  try {
    for await (const chunk of response) bytes += chunk.length;
  } catch (cause) {
    throw lost(cause);
  }
  // A wait that is cut off says nothing, and is not the end of the container.
  if (bytes === 0) throw lost(undefined);
}

function lost(cause: unknown): CocosError {
  return new CocosError("unavailable", "The container engine went away during the run", {
    ...(cause === undefined ? {} : { cause }),
  });
}

/** From the engine's record of a container. */
function endingOf(state: Readonly<Record<string, unknown>>): Ending {
  const code = state["ExitCode"];
  if (state["Running"] === true || typeof code !== "number" || !Number.isInteger(code)) {
    throw strange("the end of a container");
  }
  return { kind: "exit", code: code & 0xff, oom: state["OOMKilled"] === true };
}

/** Waits for a promise that never rejects, but not longer than this. */
async function within(promise: Promise<void>, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  await Promise.race([promise, new Promise((resolve) => timer = setTimeout(resolve, ms))]);
  clearTimeout(timer);
}

/** Removes what a killed runner left in its engine; an engine that isn't there is told and no more. */
export async function sweepEngine(
  { socket, owner }: EngineAccess,
  log: Logger,
): Promise<void> {
  const signal = AbortSignal.timeout(CLEAN_MS);
  try {
    await removeLeftovers(await Engine.at(socket, signal), owner, log, signal);
  } catch (error) {
    log.warn("the container engine can't be asked now; containers wait for it", {
      error: messageOf(error),
    });
  }
}
