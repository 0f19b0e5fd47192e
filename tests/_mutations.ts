// What is taken away to see whether anybody notices: one line of the threat model, one defence of it,
// and the tests that must turn red without it. `deno task mutate` does it, in a copy of the tree.
import { CRASH_MUTATIONS } from "./_mutations_crash.ts";
import { DOOR_MUTATIONS } from "./_mutations_door.ts";
import { GUEST_MUTATIONS } from "./_mutations_guest.ts";
import { HOST_MUTATIONS } from "./_mutations_host.ts";
import { PARTY_MUTATIONS } from "./_mutations_party.ts";

/** One defence, removed. */
export interface Mutation {
  /** Id of the line of the threat model. */
  readonly line: string;
  /** What is gone, in words. */
  readonly removes: string;
  readonly file: string;
  /** Text that stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
  /** Files of tests; those of them run whose name carries {@linkcode Mutation.line}. */
  readonly tests: readonly string[];
}

/** Lines that must each have been seen red: the hostile basics. */
export const BASICS = [
  ...["G-1", "G-6", "G-7", "G-11", "G-12", "M-1", "M-2", "M-5", "F-1", "F-2", "O-1"],
  ...["N-2", "N-3", "N-4", "N-6", "N-11", "L-1", "L-2", "L-6"],
] as const;

/** All of them, by line. */
export const MUTATIONS: readonly Mutation[] = [
  ...CRASH_MUTATIONS,
  ...DOOR_MUTATIONS,
  ...GUEST_MUTATIONS,
  ...HOST_MUTATIONS,
  ...PARTY_MUTATIONS,
];
