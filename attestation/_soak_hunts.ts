// The long hunt (threat A-14): every parser, a tenth of the runs by mutation of right input, the rest
// by fuzzing. One run is one execution of one parser.
import { hunt, MAX_BYTES, MAX_MS } from "./forge/hunt.ts";
import { targets } from "./forge/targets.ts";
import type { Outcome } from "./_soaks.ts";

/** Hunts all parsers alike. */
export async function hunts(runs: number, seed: number): Promise<Outcome> {
  const all = await targets();
  const each = Math.max(20, Math.floor(runs / all.length));
  const mutations = Math.floor(each / 11);
  const failures: string[] = [];
  let slowest = 0;
  let largest = 0;
  for (const target of all) {
    const seen = hunt(target, {
      mutations,
      fuzz: each - mutations,
      seed: seed + 1,
      memory: () => {
        const { heapUsed, external } = Deno.memoryUsage();
        return heapUsed + external;
      },
    });
    slowest = Math.max(slowest, seen.slowest);
    largest = Math.max(largest, seen.largest);
    for (const { input, why } of seen.broken) {
      failures.push(`${target.name}: ${why}: ${input.subarray(0, 2048).toHex()}`);
    }
  }
  return {
    runs,
    failures,
    figures: {
      "executions of each parser": each,
      parsers: all.length,
      [`slowest ms (of ${MAX_MS})`]: slowest,
      [`largest KiB (of ${MAX_BYTES / 1024})`]: largest / 1024,
    },
  };
}
