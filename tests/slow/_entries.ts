// Every entry of the slow suite. To add one: a file here that exports an `Entry`, and its line below.
import { flips, hunts, mutants } from "./checks.ts";
import { disconnects } from "./disconnects.ts";
import { computations, flood } from "./endurance.ts";
import type { Entry } from "./_entry.ts";
import { manifests, requests } from "./fuzz.ts";
import { cycles, models, races } from "./interleavings.ts";
import { kills } from "./kills.ts";
import { messages, names } from "./wire.ts";

/** In the order of the table. */
export const ENTRIES: readonly Entry[] = [
  kills,
  disconnects,
  computations,
  models,
  races,
  cycles,
  flood,
  messages,
  names,
  requests,
  manifests,
  mutants,
  flips,
  hunts,
];
