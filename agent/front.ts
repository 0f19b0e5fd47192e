// The front door's service: every method of AgentService, and one wrapper that gives refusals the
// status numbers of the wire the agent speaks. The only place that looks at the mode.
import { asCocosError, type CocosError } from "../base/mod.ts";
import { AgentService, implement, type ServiceImpl } from "../proto/mod.ts";
import type { Agent } from "./agent.ts";
import { algo } from "./algo.ts";
import type { Mode } from "./config.ts";
import { data } from "./data.ts";
import { attestationRefusal, azureRefusal, imaRefusal } from "./evidence.ts";
import { inSeedCodes } from "./refusals.ts";
import { result } from "./result.ts";

/** Status numbers of each mode. */
const SPOKEN: Record<Mode, (error: CocosError) => CocosError> = { compat: inSeedCodes };

/** The service, bound to an agent. */
export function front(agent: Agent, mode: Mode): ServiceImpl {
  const spoken = (thrown: unknown) => SPOKEN[mode](asCocosError(thrown));
  const once = <T>(work: () => Promise<T>) => {
    return work().catch((thrown) => {
      throw spoken(thrown);
    });
  };
  async function* many<T>(work: () => AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    try {
      yield* work();
    } catch (thrown) {
      throw spoken(thrown);
    }
  }
  const refuse = <T>(error: CocosError): AsyncIterable<T> =>
    many<T>(() => {
      throw error;
    });
  return implement(AgentService, {
    algo: (requests, call) => once(() => algo(agent, requests, call)),
    data: (requests, call) => once(() => data(agent, requests, call)),
    result: (_request, call) => many(() => result(agent, call)),
    attestation: (request) => refuse(attestationRefusal(request)),
    iMAMeasurements: () => refuse(imaRefusal()),
    azureAttestationToken: (request) => Promise.reject(spoken(azureRefusal(request))),
  });
}
