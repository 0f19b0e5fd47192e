// Threats G-2, G-12, G-13, M-2, M-6: what strangers may send to an agent first.
import { type Entry, soak } from "./_entry.ts";

/** A run is one request. */
export const requests: Entry = {
  id: "requests",
  lines: "G-2 G-13",
  title:
    "a signed request, right or broken in its members, its text or its signature; only a right " +
    "one comes in, all others are typed refusals",
  target: 1_000_000,
  batch: 100_000,
  run: soak("agent", "requests"),
};

/** A run is one manifest. */
export const manifests: Entry = {
  id: "manifests",
  lines: "G-12 M-2 M-6",
  title: "a strict manifest with bytes changed at random is read, or is a typed refusal",
  target: 1_000_000,
  batch: 100_000,
  run: soak("agent", "manifests"),
};
