// Names and marks of what this runner makes in an engine, and the removal of what one that was killed
// left there (threats C-1, Z-1). Nothing else in the engine is touched.
import { createHash } from "node:crypto";
import { type Logger, messageOf } from "../../base/mod.ts";
import { type Engine, field, strange } from "./engine.ts";

/** Label of every container. */
const OWNER_LABEL = "org.cocos.owner";

/** Names of one job's container and image. */
export interface Names {
  readonly container: string;
  /** `repository:tag`; the image is never addressed by it but for its removal. */
  readonly tag: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Containers of jobs that run now, by name. */
const active = new Set<string>();

/** A word for a runner that an engine takes in names. */
function wordOf(owner: string): string {
  return `cocos-${createHash("sha256").update(owner).digest("hex").slice(0, 12)}`;
}

/** The names for a job, which are this job's until they are given back. */
export function namesOf(owner: string, job: string): Names & Disposable {
  const word = wordOf(owner);
  const container = `${word}-${job}`;
  active.add(container);
  return {
    container,
    tag: `${word}:${job}`,
    labels: { [OWNER_LABEL]: word },
    [Symbol.dispose]: () => void active.delete(container),
  };
}

/** Removes a container with its processes; one that isn't there is no error. */
export async function removeContainer(
  engine: Engine,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  await engine.call({
    method: "DELETE",
    purpose: "remove a container",
    path: `/containers/${name}`,
    query: { force: "1", v: "1" },
    signal,
  }).catch(unlessGone);
}

/** Removes an image's name of ours, and the image if it has no other. */
export async function removeImage(engine: Engine, tag: string, signal: AbortSignal): Promise<void> {
  await engine.call({
    method: "DELETE",
    purpose: "remove an image",
    path: `/images/${tag}`,
    signal,
  }).catch(unlessGone);
}

/** Takes "there is no such thing" for an answer. */
export function unlessGone(error: { readonly code?: string }): undefined {
  if (error.code !== "not-found") throw error;
  return undefined;
}

/** Removes containers and images of this owner's jobs that don't run now. */
export async function removeLeftovers(
  engine: Engine,
  owner: string,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const word = wordOf(owner);
  const left = (name: unknown): name is string => typeof name === "string" && !active.has(name);
  const containers = await list(engine, "/containers/json", signal, {
    all: "1",
    filters: JSON.stringify({ label: [`${OWNER_LABEL}=${word}`] }),
  });
  for (const { Names: names } of containers) {
    const name = Array.isArray(names) ? String(names[0]).replace(/^\//, "") : undefined;
    if (!left(name)) continue;
    log.info("removing a left container", { name });
    await removeContainer(engine, name, signal);
  }
  const images = await list(engine, "/images/json", signal, {
    filters: JSON.stringify({ reference: [word] }),
  });
  for (const { RepoTags: tags } of images) {
    for (const tag of Array.isArray(tags) ? tags.map(String) : []) {
      if (!tag.startsWith(`${word}:`) || !left(tag.replace(":", "-"))) continue;
      log.info("removing a left image", { tag });
      await removeImage(engine, tag, signal)
        .catch((error) => log.warn("a left image stays", { tag, error: messageOf(error) }));
    }
  }
}

async function list(
  engine: Engine,
  path: string,
  signal: AbortSignal,
  query: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, unknown>>[]> {
  const purpose = "list what it has";
  const found = await engine.call({ method: "GET", purpose, path, query, signal });
  if (!Array.isArray(found)) throw strange("a list");
  return found.map((each) => field(each, "a list"));
}
