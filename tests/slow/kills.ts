// Threats C-1: the agent process is killed at 13 points of a computation.
import { type Entry, soak } from "./_entry.ts";

/** 13 points, 50 times each. */
export const kills: Entry = {
  id: "kills",
  lines: "C-1",
  title:
    "kill -9 of the agent at one of 13 points, with the real runner; the next life goes on from " +
    "whole inputs or has nothing, says so once, finishes, and the next computation completes",
  target: 650,
  batch: 26,
  run: soak("agent", "kills"),
};
