/**
 * Kind `bin`: an uploaded executable or `#!` script.
 *
 * @example
 * ```ts
 * import { readHeader } from "./header.ts";
 *
 * console.log(readHeader(new TextEncoder().encode("#!/bin/sh\n"))); // { kind: "script", … }
 * ```
 *
 * @module
 */
import { programCommand } from "../../proto/sandbox/mod.ts";
import { collectExit, placesOf, refuse, type Runtime } from "../contract.ts";
import { HEADER_BYTES, readHeader } from "./header.ts";

/** The driver. */
export const elf: Runtime = {
  kind: "bin",
  prepare: async (job) => {
    const path = `${job.directory}/algo`;
    using file = await Deno.open(path);
    const { mode } = await file.stat();
    if (mode === null || (mode & 0o110) === 0) refuse("The algorithm's file isn't executable");
    const bytes = new Uint8Array(HEADER_BYTES);
    const header = readHeader(bytes.subarray(0, await file.read(bytes) ?? 0));
    if (header.kind === "not-runnable") refuse(`The algorithm ${header.reason}`);
    return undefined;
  },
  command: (job) => programCommand(placesOf(job), job.args),
  collect: collectExit,
};
