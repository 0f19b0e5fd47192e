// Threats G-12, F-1, F-3: bytes that are wrong in some way, at the front door and in archives.
import { type Entry, soak } from "./_entry.ts";

/** A run is one call. */
export const messages: Entry = {
  id: "messages",
  lines: "G-12 R2",
  title:
    "a call to a whole agent over its socket with up to three messages that break the grammar of " +
    "protobuf; it gets a status, nothing is uncaught, the computation goes on",
  target: 1_000_000,
  batch: 20_000,
  run: soak("agent", "messages"),
};

/** A run is one archive. */
export const names: Entry = {
  id: "names",
  lines: "F-1 F-3",
  title:
    "an archive whose names want to be elsewhere, lie or are no text; it is refused whole, or " +
    "all of it lies in its folder",
  target: 1_000_000,
  batch: 20_000,
  run: soak("agent", "names"),
};
