// The front door's services: every method of AgentService and, in strict, of PartyService, and one
// wrapper that gives refusals the status numbers of the wire the agent speaks.
import { asCocosError, type CocosError } from "../base/mod.ts";
import { AgentService, implement, PartyService, type ServiceImpl } from "../proto/mod.ts";
import type { Agent } from "./agent.ts";
import { algo } from "./algo.ts";
import type { Mode } from "./config.ts";
import { data } from "./data.ts";
import { attestationRefusal, azureRefusal, imaRefusal } from "./evidence.ts";
import { party } from "./party.ts";
import { inSeedCodes } from "./refusals.ts";
import { result } from "./result.ts";

/** Status numbers of each mode. */
const SPOKEN: Record<Mode, (error: CocosError) => CocosError> = {
  strict: (error) => error,
  compat: inSeedCodes,
};

/** The services of a mode, bound to an agent. */
export function front(agent: Agent, mode: Mode): readonly ServiceImpl[] {
  const services = [agentService(agent, mode)];
  return mode === "strict" ? [...services, implement(PartyService, party(agent))] : services;
}

function agentService(agent: Agent, mode: Mode): ServiceImpl {
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
