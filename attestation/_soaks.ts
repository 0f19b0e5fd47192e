// Runs one soak of this room: `_soaks.ts NAME --runs N --seed S` prints its outcome as one line of
// JSON. `deno task test:slow` calls it; a run's number is the seed, so no go repeats another.
import { flips } from "./_soak_flips.ts";
import { hunts } from "./_soak_hunts.ts";
import { mutants } from "./_soak_mutants.ts";

/** What one go saw. */
export interface Outcome {
  readonly runs: number;
  readonly failures: readonly string[];
  readonly figures: Readonly<Record<string, number>>;
}

/** Every soak by name. */
const SOAKS: Record<string, (runs: number, seed: number) => Promise<Outcome>> = {
  flips,
  hunts,
  mutants,
};

if (import.meta.main) {
  const [name = "", ...rest] = Deno.args;
  const soak = SOAKS[name];
  const value = (flag: string) => Number(rest[rest.indexOf(flag) + 1]);
  const [runs, seed] = [value("--runs"), value("--seed")];
  if (soak === undefined || !Number.isSafeInteger(runs) || !Number.isSafeInteger(seed)) {
    console.error(`usage: _soaks.ts ${Object.keys(SOAKS).join("|")} --runs N --seed S`);
    Deno.exit(2);
  }
  console.log(JSON.stringify(await soak(runs, seed)));
  Deno.exit(0);
}
