// Appraises simulated evidence. A good verdict says only that the development setup works: anybody
// can make such evidence. No other policy than a simulated one ever takes it (threat A-18).
import {
  bound,
  type Explained,
  explainRules,
  oneOf,
  type Rule,
  runRules,
  SESSION,
} from "../rules.ts";
import { ANY, Appraisal, NOT_SET, type OrAny, toHex, type Verdict } from "../verdict.ts";
import { parseSimulated, type SimulatedEvidence, simulatedSignatureHolds } from "./evidence.ts";

/** What a developer expects; byte values are lower-case hex. */
export interface SimulatedPolicy {
  readonly technology: "simulated";
  /** Must be written out: a reader of the policy can't miss it. */
  readonly insecure: true;
  /** Public keys of simulated roots. */
  readonly roots: readonly string[];
  readonly measurement: OrAny<readonly string[]>;
  /** `session`, 64 bytes, or `any`. */
  readonly reportData: string;
  /** `session`, 32 bytes, or `any`. */
  readonly hostData: string;
}

/** A development policy of strict defaults and what is given. */
export function simulatedPolicy(
  given: Pick<SimulatedPolicy, "insecure" | "roots" | "measurement"> & Partial<SimulatedPolicy>,
): SimulatedPolicy {
  return Object.freeze({ technology: "simulated", reportData: SESSION, hostData: ANY, ...given });
}

interface Session {
  readonly reportData: string | undefined;
  readonly hostData: string | undefined;
}

const RULES = [
  {
    id: "simulated.root",
    expected: ({ roots }) =>
      roots === undefined || roots.length === 0 ? NOT_SET : roots.join(" or "),
    actual: (e) => toHex(e.root),
    holds: ({ insecure, roots }, e) =>
      insecure === true && (roots?.includes(toHex(e.root)) ?? false),
    remedy:
      "Simulated evidence proves nothing; a development policy must say insecure and name this key.",
  },
  {
    id: "simulated.signature",
    expected: () => "signed by the named key",
    actual: (e) => simulatedSignatureHolds(e) ? "holds" : "does not hold",
    holds: (_p, e) => simulatedSignatureHolds(e),
    remedy: "The evidence was changed.",
  },
  bound(
    "simulated.report-data",
    (p) => p.reportData,
    (s) => s.reportData,
    (e) => toHex(e.reportData),
    "The evidence is not for this session: ask for fresh evidence over your nonce.",
  ),
  oneOf(
    "simulated.measurement",
    (p) => p.measurement,
    (e) => toHex(e.measurement),
    "Another image was started.",
  ),
  bound(
    "simulated.host-data",
    (p) => p.hostData,
    (s) => s.hostData,
    (e) => toHex(e.hostData),
    "The guest was launched with other host data.",
  ),
] as const satisfies readonly Rule<string, SimulatedPolicy, SimulatedEvidence, Session>[];

/** Every check of a simulated verdict, in order. */
export const SIMULATED_CHECKS = ["simulated.format", ...RULES.map(({ id }) => id)] as const;

/** What a verifier knows besides policy and evidence. */
export interface SimulatedContext {
  readonly reportData?: Uint8Array | undefined;
  readonly hostData?: Uint8Array | undefined;
}

/** Appraises simulated evidence. */
export async function appraiseSimulated(
  bytes: Uint8Array,
  policy: SimulatedPolicy,
  context: SimulatedContext,
): Promise<Verdict> {
  const appraisal = new Appraisal("simulated", SIMULATED_CHECKS);
  const evidence = await appraisal.attempt(
    "simulated.format",
    "simulated evidence",
    () => parseSimulated(bytes),
    { remedy: "Only the simulator of this project makes such evidence." },
  );
  if (evidence === undefined) return appraisal.verdict({});
  const session: Session = {
    reportData: context.reportData === undefined ? undefined : toHex(context.reportData),
    hostData: context.hostData === undefined ? undefined : toHex(context.hostData),
  };
  runRules(appraisal, RULES, policy, evidence, session);
  return appraisal.verdict({
    insecure: true,
    measurement: toHex(evidence.measurement),
    reportData: toHex(evidence.reportData),
    hostData: toHex(evidence.hostData),
    root: toHex(evidence.root),
  });
}

/** What {@linkcode appraiseSimulated} will ask for under a policy. */
export function explainSimulated(policy: SimulatedPolicy): Explained[] {
  return [
    { id: "simulated.format", expected: "simulated evidence (it proves nothing)" },
    ...explainRules(RULES, policy),
  ];
}
