// Threats C-3: the connection to the management server breaks at random bytes.
import { type Entry, soak } from "./_entry.ts";

/** A run is one broken connection. */
export const disconnects: Entry = {
  id: "disconnects",
  lines: "C-3",
  title: "the connection to the management server breaks at a random byte while events are sent; " +
    "each event comes once and in its order",
  target: 1_000,
  batch: 500,
  run: soak("agent", "disconnects"),
};
