// Limits of a job whose manifest names none, as far as they don't follow from the machine; memory is
// three quarters of the machine's and CPUs are all.

/** Limits in force where a manifest has none. */
export const DEFAULT_LIMITS = Object.freeze({
  wallSeconds: 3600,
  processes: 512,
  /** Less where a quarter of the job's memory is less. */
  tmpBytes: 256 << 20,
  outputBytes: 16 << 20,
  resultsBytes: 16 * 2 ** 30,
  resultsFiles: 100_000,
});
