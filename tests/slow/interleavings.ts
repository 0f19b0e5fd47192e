// Threats C-7, G-5, G-9, M-1, M-10: everything that can happen to an agent, in orders chance decides.
import { type Entry, soak } from "./_entry.ts";

/** A run is a list of 10 to 40 steps. */
export const models: Entry = {
  id: "models",
  lines: "C-7 R6",
  title:
    "a random list of what parties, server and runner can do, done to the agent and to a model " +
    "of the table; after each step both are in one state, with the same files",
  target: 1_000,
  batch: 100,
  run: soak("agent", "models"),
};

/** A run is one computation. */
export const races: Entry = {
  id: "races",
  lines: "G-5 G-9 M-1",
  title:
    "parallel uploads of one item, two manifests, fetches and a stop race in a seeded order; " +
    "one of each wins, the run sees the right bytes, nothing is left",
  target: 1_000,
  batch: 100,
  run: soak("agent", "races"),
};

/** A run is one manifest and its stops. */
export const cycles: Entry = {
  id: "cycles",
  lines: "M-10",
  title:
    "a computation is stopped at a random stage, one to four times, with broken connections; " +
    "the agent is ready for the next each time",
  target: 1_000,
  batch: 200,
  run: soak("agent", "cycles"),
};
