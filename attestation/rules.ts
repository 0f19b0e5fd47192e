// Rules: one line of a table for each comparison of a policy with evidence, so that what `explain`
// prints and what a verifier runs is the same list. An expectation that is missing never holds.
import { ANY, type Appraisal, type Flag, NOT_SET, type OrAny } from "./verdict.ts";

/** One comparison: `P` is the policy, `E` the parsed evidence, `S` what the session expects. */
export interface Rule<Id extends string, P, E, S> {
  readonly id: Id;
  /** What is asked for; without a session, what a session must provide. */
  readonly expected: (policy: P, session: S | undefined) => string;
  readonly actual: (evidence: E) => string;
  readonly holds: (policy: P, evidence: E, session: S) => boolean;
  readonly remedy: string;
}

/** What a check will ask for, before there is any evidence. */
export interface Explained {
  readonly id: string;
  readonly expected: string;
}

/** Runs every rule and records its check. */
export function runRules<Id extends string, P, E, S>(
  appraisal: Appraisal<Id>,
  rules: readonly Rule<Id, P, E, S>[],
  policy: P,
  evidence: E,
  session: S,
): void {
  for (const rule of rules) {
    appraisal.check(
      rule.id,
      rule.holds(policy, evidence, session),
      rule.expected(policy, session),
      rule.actual(evidence),
      { remedy: rule.remedy },
    );
  }
}

/** What each rule will ask for under a policy. */
export function explainRules<Id extends string, P, E, S>(
  rules: readonly Rule<Id, P, E, S>[],
  policy: P,
): Explained[] {
  return rules.map(({ id, expected }) => ({ id, expected: expected(policy, undefined) }));
}

/** The value must be one of a list (lower-case hex for bytes); an absent or empty list never holds. */
export function oneOf<Id extends string, P, E, S>(
  id: Id,
  list: (policy: P) => OrAny<readonly string[]> | undefined,
  actual: (evidence: E) => string,
  remedy: string,
): Rule<Id, P, E, S> {
  return {
    id,
    expected: (policy) => {
      const values = list(policy);
      if (values === ANY) return ANY;
      return values === undefined || values.length === 0 ? NOT_SET : values.join(" or ");
    },
    actual,
    holds: (policy, evidence) => {
      const values = list(policy);
      return values === ANY || (values?.includes(actual(evidence)) ?? false);
    },
    remedy,
  };
}

/** The number must not be below a minimum. */
export function atLeast<Id extends string, P, E, S>(
  id: Id,
  minimum: (policy: P) => OrAny<number> | undefined,
  actual: (evidence: E) => number,
  remedy: string,
): Rule<Id, P, E, S> {
  return {
    id,
    expected: (policy) => {
      const value = minimum(policy);
      return value === undefined ? NOT_SET : value === ANY ? ANY : `at least ${value}`;
    },
    actual: (evidence) => String(actual(evidence)),
    holds: (policy, evidence) => {
      const value = minimum(policy);
      return value === ANY || (value !== undefined && actual(evidence) >= value);
    },
    remedy,
  };
}

/** The bit must be as the flag says. */
export function flag<Id extends string, P, E, S>(
  id: Id,
  wanted: (policy: P) => Flag | undefined,
  actual: (evidence: E) => boolean,
  remedy: string,
): Rule<Id, P, E, S> {
  const word = (bit: boolean) => bit ? "on" : "off";
  return {
    id,
    expected: (policy) => wanted(policy) ?? NOT_SET,
    actual: (evidence) => word(actual(evidence)),
    holds: (policy, evidence) => {
      const value = wanted(policy);
      return value === ANY || value === word(actual(evidence));
    },
    remedy,
  };
}

/** The word of a policy for a value that only the session knows (nonce, manifest digest). */
export const SESSION = "session" as const;

/** The value must be the session's, or a fixed one; a session that names none never holds. */
export function bound<Id extends string, P, E, S>(
  id: Id,
  wanted: (policy: P) => string | undefined,
  ofSession: (session: S) => string | undefined,
  actual: (evidence: E) => string,
  remedy: string,
): Rule<Id, P, E, S> {
  const value = (policy: P, session: S | undefined) => {
    const text = wanted(policy);
    return text === SESSION && session !== undefined ? ofSession(session) : text;
  };
  return {
    id,
    expected: (policy, session) => {
      const text = value(policy, session);
      if (text === SESSION) return "the value of the session";
      return text === undefined || text === "" ? NOT_SET : text;
    },
    actual,
    holds: (policy, evidence, session) => {
      const text = value(policy, session);
      return text === ANY || (text !== undefined && text !== "" && text === actual(evidence));
    },
    remedy,
  };
}
