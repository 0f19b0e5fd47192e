// Threats C-6, S-5: what an agent holds does not grow, with computations or with output.
import { type Entry, soak } from "./_entry.ts";

/** One go, so that growth is seen over all of it. */
export const computations: Entry = {
  id: "computations",
  lines: "C-6",
  title:
    "a whole computation with 1 MiB in and out, one after another in one agent process; memory " +
    "grows by less than 5 % from the 200th on, descriptors, threads and files not at all",
  target: 1_000,
  batch: 1_000,
  merge: {
    "descriptors before": "max",
    "descriptors after": "max",
    "RSS MiB at the end": "max",
    "RSS growth % from 200 to the end": "max",
  },
  run: soak("agent", "computations"),
};

/** A run is a second. */
export const flood: Entry = {
  id: "flood",
  lines: "S-5",
  title:
    "a second in which the algorithm prints as fast as the runner lets it (it is slowed down " +
    "past its share); the agent grows by less than 32 MiB and sends at most 10 events a second",
  target: 60,
  batch: 60,
  merge: { "MB/s printed": "max", "RSS growth MiB": "max", "events/s": "max" },
  run: soak("agent", "flood"),
};
