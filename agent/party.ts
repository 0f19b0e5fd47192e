// cocos.agent.v1.PartyService, the strict mode's own calls: the manifest for reading, challenges,
// acknowledged receipt. Who may connect may read the manifest; everything else is signed.
import { fromHex, hex } from "../base/mod.ts";
import {
  ALGORITHM_ITEM,
  type CallContext,
  datasetItem,
  type Handlers,
  MAX_MESSAGE_BYTES,
  OUTPUT_ITEM,
  type PartyService,
  ROLES,
} from "../proto/mod.ts";
import type { Agent } from "./agent.ts";
import { algorithmClaim } from "./algo.ts";
import { authorize } from "./authorize.ts";
import { CHALLENGE_SECONDS } from "./challenges.ts";
import type { Computation } from "./computation.ts";
import { datasetClaim } from "./data.ts";
import type { Agreement } from "./terms.ts";
import { badDigest, badRequest, oneAtATime, otherManifest, stopped } from "./refusals.ts";
import { consumerOf, readyResults, resultClaim } from "./result.ts";

/** The service, bound to an agent. */
export function party(agent: Agent): Handlers<typeof PartyService> {
  const reading = new WeakMap<object, number>();
  return {
    manifest: (_request, call) =>
      answer(() => {
        const { canonical } = agreed(agent.current());
        // Strangers may ask, and an answer waits in memory for those who read slowly (threats R5).
        const under = (reading.get(call.connection) ?? 0) + canonical.length;
        if (under > MAX_MESSAGE_BYTES) throw oneAtATime();
        reading.set(call.connection, under);
        call.delivered.then(() => {
          reading.set(call.connection, (reading.get(call.connection) ?? 0) - canonical.length);
        });
        return { canonical };
      }),
    challenge: (request, call) =>
      answer(() => {
        const computation = agent.current();
        const { digest } = agreed(computation);
        const same = request.computationId === computation.manifest.id &&
          hex(request.manifestDigest) === digest;
        if (!same) throw otherManifest();
        return {
          challenge: computation.challenges.give(call.connection),
          lifetimeSeconds: CHALLENGE_SECONDS,
        };
      }),
    held: ({ item }, call) => held(agent, item, call),
    acknowledge: ({ digest }, call) => answer(() => acknowledge(agent, hex(digest), call)),
    output: (_request, call) => answer(() => output(agent, call)),
  };
}

/** What a piece of work gives or throws, as a promise. */
function answer<T>(work: () => T): Promise<T> {
  return new Promise((resolve) => resolve(work()));
}

/** What is here of a broken upload of the caller's own item. */
async function held(agent: Agent, item: string, call: CallContext) {
  const computation = agent.current();
  const { manifest } = computation;
  const claims = [algorithmClaim(manifest), ...manifest.datasets.map(datasetClaim)];
  const { request } = authorize(computation, call, ROLES.data, claims);
  if (request?.item !== item) throw badRequest("is about another item than the call");
  // Said also when the answer to the upload was lost: its sender must not take that for a failure.
  const committed = item === ALGORITHM_ITEM
    ? computation.hasAlgorithm
    : !computation.missing.some((each) => datasetItem(each) === item);
  if (committed) {
    return { bytes: BigInt(request.size), digest: fromHex(request.payload), committed };
  }
  const { bytes, digest } = await computation.broken.held(item);
  return { bytes: BigInt(bytes), digest: new Uint8Array(digest) };
}

/** A consumer has the whole result; the last one completes the computation (threats O-3). */
function acknowledge(
  agent: Agent,
  digest: string,
  call: CallContext,
): Record<string, never> {
  const computation = agent.current();
  const claim = resultClaim(computation.manifest);
  const { signer, request } = authorize(computation, call, ROLES.consumer, [claim]);
  const consumer = consumerOf(computation, signer);
  const { consumed, results: given } = computation.progress;
  // The answer to the one before may have been lost on its way: to say it again changes nothing.
  const again = agent.state === "Complete" && consumed.includes(consumer);
  const results = again ? given : readyResults(agent, computation);
  if (request?.payload !== digest) throw badRequest("is about another digest than the call");
  // After a restart nothing is known of results that were purged.
  const other = results !== undefined &&
    (digest !== results.digest || request.size !== results.size);
  if (other) throw badDigest();
  agent.consumed(computation, consumer);
  return {};
}

/** What the algorithm printed, for those the manifest names (threats S-6). */
function output(agent: Agent, call: CallContext) {
  const computation = agent.current();
  const { algorithm, consumers, logReaders } = computation.manifest;
  const owners = [
    ...(logReaders.includes("algorithm-provider") ? [algorithm.owner] : []),
    ...(logReaders.includes("consumers") ? consumers : []),
  ];
  const claim = { item: OUTPUT_ITEM, owners, payload: "", size: 0 };
  authorize(computation, call, ROLES.algorithm, [claim]);
  const { text, dropped } = computation.output?.tail() ?? { text: "", dropped: 0 };
  return { tail: text, droppedBytes: BigInt(dropped), running: agent.state === "Running" };
}

/** What the parties agreed on; only strict computations have the service. */
function agreed({ manifest: { agreement } }: Computation): Agreement {
  if (agreement === undefined) throw stopped();
  return agreement;
}
