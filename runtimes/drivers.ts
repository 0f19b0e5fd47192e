// The drivers there are, by kind: a fifth is one folder and one line here.
import { CocosError, type Logger } from "../base/mod.ts";
import type { Kind } from "../proto/runner/mod.ts";
import type { Facilities, Runtime } from "./contract.ts";
import { docker } from "./docker/mod.ts";
import { elf } from "./elf/mod.ts";
import { python } from "./python/mod.ts";
import { wasm } from "./wasm/mod.ts";

const DRIVERS: readonly Runtime[] = [elf, python, wasm, docker];

/**
 * The driver of a kind.
 *
 * @throws {CocosError} `not-supported` for a kind that this runner can't run.
 */
export function driverOf(kind: Kind): Runtime {
  const driver = DRIVERS.find((each) => each.kind === kind);
  if (driver === undefined) {
    throw new CocosError("not-supported", `This runner can't run algorithms of type ${kind}`, {
      hint: `It runs ${DRIVERS.map((each) => each.kind).join(", ")}.`,
    });
  }
  return driver;
}

/** Removes what a killed runner left outside its work area. */
export async function sweepDrivers(facilities: Facilities, log: Logger): Promise<void> {
  for (const driver of DRIVERS) await driver.sweep?.(facilities, log);
}
