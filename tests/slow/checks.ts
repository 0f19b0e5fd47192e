// The verifier's long tests: toothless checks, flipped bits, hunted parsers.
import { type Entry, soak } from "./_entry.ts";

/** Each check of every verdict's list, made to hold whatever happens. */
export const mutants: Entry = {
  id: "mutants",
  lines: "A-1…A-12",
  title: "one check of a verdict's list is made to hold whatever happens; the tests of its " +
    "technology must notice",
  target: 159,
  batch: 20,
  run: soak("attestation", "mutants"),
};

/** 113,312 bits: SNP v2, v3 and GCE reports, TDX v4 and v5 quotes, RSA and ECDSA quotes of a TPM. */
export const flips: Entry = {
  id: "flips",
  lines: "A-5 A-7 A-8",
  title: "one bit of real evidence is flipped; what is signed is refused, what is not is refused " +
    "or changes no claim",
  target: 113_312,
  batch: 15_000,
  run: soak("attestation", "flips"),
};

/** 1.1 million executions of each parser. */
export const hunts: Entry = {
  id: "hunts",
  lines: "A-14",
  title:
    "one execution of one of 46 parsers on mutated or fuzzed input; a typed error or a value, " +
    "below 50 ms and 16 MiB",
  target: 50_600_000,
  batch: 1_150_000,
  merge: {
    parsers: "max",
    "slowest ms (of 50)": "max",
    "largest KiB (of 16384)": "max",
  },
  run: soak("attestation", "hunts"),
};
