// Runs one soak of this room: `_soaks.ts NAME --runs N --seed S` prints its outcome as one line of
// JSON. `deno task test:slow` calls it; the ordinary tests call a soak's short form themselves.
import type { Outcome } from "./_soak.ts";
import { manifests, requests } from "./_soak_fuzz.ts";
import { flood } from "./_soak_flood.ts";
import { computations } from "./_soak_many.ts";
import { disconnects } from "./_soak_events.ts";
import { models } from "./_soak_model.ts";
import { cycles, races } from "./_soak_races.ts";
import { kills } from "./_soak_kill.ts";
import { messages, names } from "./_soak_wire.ts";

/** Every soak by name. */
const SOAKS: Record<string, (runs: number, seed: number) => Promise<Outcome>> = {
  disconnects,
  computations,
  cycles,
  flood,
  kills,
  models,
  races,
  manifests,
  messages,
  names,
  requests,
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
