// Every entry of the slow suite. To add one: a file here that exports an `Entry`, and its line below.
import { flips, hunts, mutants } from "./checks.ts";
import { disconnects } from "./disconnects.ts";
import type { Entry } from "./_entry.ts";
import { manifests, requests } from "./fuzz.ts";
import { kills } from "./kills.ts";

/** In the order of the table. */
export const ENTRIES: readonly Entry[] = [
  kills,
  disconnects,
  requests,
  manifests,
  mutants,
  flips,
  hunts,
];
