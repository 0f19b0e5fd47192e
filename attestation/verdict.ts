// The outcome of an appraisal as data: a list of named checks. Nothing in here trusts the evidence,
// and a check whose expectation is missing fails (threats R1, A-1, A-11).
import { CocosError, messageOf } from "../base/mod.ts";

/** How much a check weighs: only `required` ones decide the verdict. */
export type Severity = "required" | "advice";

/** One named comparison. */
export interface Check {
  /** Stable dotted name, such as `snp.measurement`. */
  readonly id: string;
  readonly ok: boolean;
  /** What the policy, or the technology itself, asks for. */
  readonly expected: string;
  /** What the evidence says. */
  readonly actual: string;
  /** What a person can do about a failed check. */
  readonly remedy?: string;
  /** Absent means `required`. */
  readonly severity?: Severity;
}

/** A value a claim can have; all of them survive JSON. */
export type Claim = string | number | boolean | null | readonly Claim[] | {
  readonly [name: string]: Claim;
};

/** What the evidence says once its signature holds; names are stable per technology. */
export type Claims = { readonly [name: string]: Claim };

/** The answer of a verifier. */
export interface Verdict {
  /** True only when there is at least one check and no required one failed. */
  readonly ok: boolean;
  /** `snp`, `tdx`, `tpm`, `ima`, `azure-token`, `simulated`, … */
  readonly technology: string;
  readonly checks: readonly Check[];
  readonly claims: Claims;
}

/** What can be compared: bytes are shown as lower-case hex. */
export type Comparable = Uint8Array | string | number | bigint | boolean;

/** The explicit word of a policy that accepts every value; `lint` names each use of it. */
export const ANY = "any";

/** A value of a policy, or the explicit word that accepts every value. */
export type OrAny<T> = T | typeof ANY;

/** What a policy says of one bit. */
export type Flag = "on" | "off" | typeof ANY;

/** Expected text of a check whose expectation is missing: such a check fails. */
export const NOT_SET = "(not set: the policy must name a value or say any)";

/** How a text that is empty is shown. */
const EMPTY = "(empty)";

/** Extras of a check. */
export interface CheckOptions {
  readonly remedy?: string | undefined;
  readonly severity?: Severity | undefined;
}

/**
 * Collects the checks of one appraisal. It is made with the whole list of check ids of its
 * technology: an id outside of the list, or used twice, is a programming error; an id of the list
 * that was never decided is a *failed* check of the verdict.
 *
 * @example
 * ```ts
 * const appraisal = new Appraisal("toy", ["toy.colour", "toy.size"] as const);
 * appraisal.equal("toy.colour", "red", "red");
 * const verdict = appraisal.verdict({});
 * console.log(verdict.ok, verdict.checks[1]?.actual); // false (not reached)
 * ```
 */
export class Appraisal<const Id extends string> {
  readonly #technology: string;
  readonly #ids: readonly string[];
  readonly #checks = new Map<string, Check>();

  constructor(technology: string, ids: readonly Id[]) {
    if (ids.length === 0 || new Set(ids).size !== ids.length) {
      throw new CocosError("internal", `Cannot appraise ${technology}: check ids must be distinct`);
    }
    this.#technology = technology;
    this.#ids = ids;
  }

  /** Records a decided check and returns `ok`. */
  check(
    id: Id,
    ok: boolean,
    expected: string,
    actual: string,
    options: CheckOptions = {},
  ): boolean {
    if (!this.#ids.includes(id) || this.#checks.has(id)) {
      throw new CocosError("internal", `Cannot record check ${id}: unknown or decided already`);
    }
    this.#checks.set(
      id,
      Object.freeze({
        id,
        ok,
        expected: expected === "" ? EMPTY : expected,
        actual: actual === "" ? EMPTY : actual,
        ...(!ok && options.remedy !== undefined ? { remedy: options.remedy } : {}),
        ...(options.severity !== undefined ? { severity: options.severity } : {}),
      }),
    );
    return ok;
  }

  /**
   * The actual value must equal the expected one. `undefined` fails; {@linkcode ANY} passes and is
   * shown as such.
   */
  equal(
    id: Id,
    expected: Comparable | undefined,
    actual: Comparable,
    options?: CheckOptions,
  ): boolean {
    if (expected === undefined) return this.check(id, false, NOT_SET, shown(actual), options);
    if (expected === ANY) return this.check(id, true, ANY, shown(actual), options);
    return this.check(id, same(expected, actual), shown(expected), shown(actual), options);
  }

  /** The actual value must be in the list; `undefined` and an empty list fail. */
  oneOf(
    id: Id,
    allowed: readonly Comparable[] | typeof ANY | undefined,
    actual: Comparable,
    options?: CheckOptions,
  ): boolean {
    if (allowed === ANY) return this.check(id, true, ANY, shown(actual), options);
    if (allowed === undefined || allowed.length === 0) {
      return this.check(id, false, NOT_SET, shown(actual), options);
    }
    const ok = allowed.some((each) => same(each, actual));
    return this.check(id, ok, allowed.map(shown).join(" or "), shown(actual), options);
  }

  /** The actual number must not be below the minimum; `undefined` fails. */
  atLeast(
    id: Id,
    minimum: number | bigint | typeof ANY | undefined,
    actual: number | bigint,
    options?: CheckOptions,
  ): boolean {
    if (minimum === undefined) return this.check(id, false, NOT_SET, shown(actual), options);
    if (minimum === ANY) return this.check(id, true, ANY, shown(actual), options);
    return this.check(id, actual >= minimum, `at least ${minimum}`, shown(actual), options);
  }

  /**
   * Runs a step that throws when it does not hold. Its result is returned, or `undefined` after a
   * failure; what it threw becomes the `actual` text.
   */
  async attempt<T>(
    id: Id,
    expected: string,
    step: () => T | Promise<T>,
    options: CheckOptions & { readonly remedy: string },
  ): Promise<T | undefined> {
    try {
      const result = await step();
      this.check(id, true, expected, "holds", options);
      return result;
    } catch (error) {
      if (error instanceof CocosError && error.code === "internal") throw error;
      const hint = error instanceof CocosError ? error.hint : undefined;
      this.check(id, false, expected, messageOf(error), {
        ...options,
        remedy: hint ?? options.remedy,
      });
      return undefined;
    }
  }

  /** True while no required check has failed. */
  get holds(): boolean {
    return [...this.#checks.values()].every((each) => each.ok || each.severity === "advice");
  }

  /** The verdict over every id of the list, in the order of the list. */
  verdict(claims: Claims): Verdict {
    const checks = this.#ids.map((id): Check =>
      this.#checks.get(id) ?? Object.freeze({
        id,
        ok: false,
        expected: "a decided check",
        actual: "(not reached)",
        remedy: "See the first failed check above: this one could not run after it.",
      })
    );
    return verdictOf(this.#technology, checks, claims);
  }
}

/** Verdict over decided checks: `ok` needs at least one check and no failed required one. */
export function verdictOf(technology: string, checks: readonly Check[], claims: Claims): Verdict {
  const ok = checks.length > 0 && checks.every((each) => each.ok || each.severity === "advice");
  return Object.freeze({ ok, technology, checks: Object.freeze([...checks]), claims });
}

/** One verdict of several (evidence of two technologies about one machine): all must hold. */
export function combine(technology: string, verdicts: readonly Verdict[]): Verdict {
  const claims: Record<string, Claim> = {};
  for (const each of verdicts) claims[each.technology] = each.claims;
  const checks = verdicts.flatMap((each) => each.checks);
  const verdict = verdictOf(technology, checks, claims);
  return Object.freeze({
    ...verdict,
    ok: verdicts.length > 0 && verdicts.every((each) => each.ok),
  });
}

/** First failed required check, if any. */
export function firstFailure(verdict: Verdict): Check | undefined {
  return verdict.checks.find((each) => !each.ok && each.severity !== "advice");
}

/**
 * @throws {CocosError} `untrusted` (exit code 5) that names the first failed check, unless the
 * verdict is good.
 */
export function requireOk(verdict: Verdict): void {
  if (verdict.ok) return;
  const failed = firstFailure(verdict);
  throw new CocosError(
    "untrusted",
    failed === undefined
      ? `Cannot trust this ${verdict.technology} evidence: no check was made`
      : `Cannot trust this ${verdict.technology} evidence: ${failed.id}: expected ${failed.expected}, found ${failed.actual}`,
    failed?.remedy === undefined ? {} : { hint: failed.remedy },
  );
}

/** Text of a value in a check. */
export function shown(value: Comparable): string {
  if (value instanceof Uint8Array) return value.length === 0 ? EMPTY : toHex(value);
  return String(value);
}

function same(left: Comparable, right: Comparable): boolean {
  if (left instanceof Uint8Array || right instanceof Uint8Array) {
    return left instanceof Uint8Array && right instanceof Uint8Array && equalBytes(left, right);
  }
  return typeof left === typeof right && left === right;
}

/** Whether two byte strings are equal; takes the same time wherever they differ. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  let difference = 0;
  for (let i = 0; i < left.length; i++) difference |= (left[i] as number) ^ (right[i] as number);
  return difference === 0;
}

/** Lower-case hex. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += (byte < 16 ? "0" : "") + byte.toString(16);
  return text;
}
