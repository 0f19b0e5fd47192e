// What a restarted agent finds: a computation whose inputs are whole goes on, anything else is gone.
// Files may have been cut by a crash or changed by anybody, so digests are checked again (C-1, C-2).
import { CocosError, digestFile, hex } from "../base/mod.ts";
import { Computation } from "./computation.ts";
import type { Mode } from "./config.ts";
import type { Journal, Snapshot } from "./journal.ts";
import { readManifest } from "./manifest.ts";
import type { State } from "./states.ts";
import { treeDigest } from "./tree.ts";
import { reasonOf, removeAll, type WorkArea } from "./work.ts";

/** What is left of the computation before. */
export type Recovered =
  | { readonly computation: Computation; readonly state: State }
  | {
    readonly computation?: undefined;
    /** Why an interrupted computation can't go on; absent when there was none. */
    readonly interrupted?: string;
  };

/** Reads the journal and checks everything it says is committed. */
export async function recovered(
  journal: Journal,
  area: WorkArea,
  mode: Mode,
): Promise<Recovered> {
  try {
    const snapshot = journal.read();
    if (snapshot?.computation === undefined) return {};
    return {
      computation: await whole(snapshot.computation, snapshot.state, area, mode),
      state: snapshot.state,
    };
  } catch (thrown) {
    // Other texts have paths in them, and those of a party's files must not be told (threats R7).
    const ours = thrown instanceof CocosError;
    return { interrupted: ours ? thrown.message : `a file can't be read: ${reasonOf(thrown)}` };
  }
}

async function whole(
  { job: id, mode: began, manifest: bytes, progress }: Required<Snapshot>["computation"],
  state: State,
  area: WorkArea,
  mode: Mode,
): Promise<Computation> {
  // Else a strict computation could be taken up by requests that are signed over a role only.
  if (began !== mode) {
    throw new CocosError("data-loss", `it began in mode ${began}, and this agent's is ${mode}`);
  }
  const manifest = readManifest(bytes, mode);
  const job = area.job(id);
  const computation = new Computation(manifest, bytes, job, progress);
  switch (state) {
    case "Idle":
    case "ReceivingManifest":
      throw new CocosError("data-loss", `state ${state} has no computation`);
    case "Complete":
    case "Failed":
      job.purge();
      return computation;
    case "ConsumingResults": {
      const { results } = progress;
      if (results === undefined || hex(await digestFile(job.archive)) !== results.digest) {
        throw new CocosError("data-loss", "the results are not whole");
      }
      keepOnly(job.dir, ["results.zip"]);
      return computation;
    }
  }
  const kept = ["datasets"];
  if (progress.algorithm !== undefined) {
    kept.push("algo");
    if (hex(await digestFile(job.algorithm)) !== manifest.algorithm.digest) {
      throw new CocosError("data-loss", "the algorithm is not whole");
    }
    if (progress.algorithm.requirements !== undefined) {
      kept.push("requirements");
      const names = [...Deno.readDirSync(job.requirements)].map(({ name }) => name);
      if (await treeDigest(job.requirements, names) !== progress.algorithm.requirements) {
        throw new CocosError("data-loss", "the requirements are not whole");
      }
    }
  } else if (state !== "ReceivingAlgorithm") {
    throw new CocosError("data-loss", "the algorithm is not there");
  }
  for (const { index, names, tree } of progress.datasets) {
    const item = manifest.datasets[index];
    const digest = tree === undefined
      ? hex(await digestFile(`${job.datasets}/${names[0]}`))
      : await treeDigest(job.datasets, names);
    if (item === undefined || digest !== (tree ?? item.digest)) {
      throw new CocosError("data-loss", `dataset ${index} is not whole`);
    }
  }
  if (state === "Running" && computation.missing.length > 0) {
    throw new CocosError("data-loss", "a dataset is missing");
  }
  keepOnly(job.datasets, progress.datasets.flatMap(({ names }) => names));
  // `results/` of an interrupted run is made afresh when the run starts again.
  keepOnly(job.dir, kept);
  return computation;
}

/** Removes half-made things: uploads that were under way, archives half unpacked. */
function keepOnly(folder: string, names: readonly string[]): void {
  for (const { name } of Deno.readDirSync(folder)) {
    if (!names.includes(name)) removeAll(`${folder}/${name}`);
  }
}
