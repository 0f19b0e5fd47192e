// A verdict for people, for programs and as an attestation result: the same checks in each form.
// Values from the evidence are hostile text; control characters never reach a terminal.
import type { Check, Claims, Verdict } from "./verdict.ts";
import { base64url } from "./x509/mod.ts";

/** Longest value shown in a line of text; the JSON forms hold all of it. */
const SHOWN = 200;

function clean(text: string): string {
  const safe = text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, "\ufffd");
  return safe.length > SHOWN ? `${safe.slice(0, SHOWN)}…` : safe;
}

function word(check: Check): string {
  if (check.ok) return "ok  ";
  return check.severity === "advice" ? "note" : "FAIL";
}

/** Options of {@linkcode verdictText}. */
export interface TextOptions {
  /** Show the checks that hold, too. Default true. */
  readonly all?: boolean;
}

/** Text of a verdict: one line a check; failed ones with expected, found and remedy; then the word. */
export function verdictText(verdict: Verdict, options: TextOptions = {}): string {
  const lines: string[] = [];
  for (const check of verdict.checks) {
    if (check.ok) {
      if (options.all ?? true) lines.push(`${word(check)} ${check.id}: ${clean(check.actual)}`);
      continue;
    }
    lines.push(`${word(check)} ${check.id}`);
    lines.push(`       expected: ${clean(check.expected)}`);
    lines.push(`       found:    ${clean(check.actual)}`);
    if (check.remedy !== undefined) lines.push(`       remedy:   ${clean(check.remedy)}`);
  }
  const failed = verdict.checks.filter((each) => !each.ok && each.severity !== "advice").length;
  const total = verdict.checks.length;
  if ("insecure" in verdict.claims || "simulated" in verdict.claims) {
    lines.push("INSECURE: this evidence is simulated and proves nothing");
  }
  lines.push(
    verdict.ok
      ? `trusted: all ${total} checks hold`
      : total === 0
      ? "NOT trusted: no check was made"
      : `NOT trusted: ${failed} of ${total} checks failed`,
  );
  return `${lines.join("\n")}\n`;
}

/** The verdict as plain JSON. */
export function verdictJson(verdict: Verdict): {
  readonly ok: boolean;
  readonly technology: string;
  readonly checks: readonly Check[];
  readonly claims: Claims;
} {
  const { ok, technology, checks, claims } = verdict;
  return { ok, technology, checks, claims };
}

/** What an attestation result says besides the verdict. */
export interface EatOptions {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** What the evidence was asked with; RFC 9711 takes 8 to 64 bytes, others are left out. */
  readonly nonce?: Uint8Array | undefined;
  /** SHA-256 of the policy file, hex. */
  readonly policyDigest?: string;
}

/**
 * The verdict as an attestation result in the form of an EAT (RFC 9711, RFC 9334), unsigned: whoever
 * passes it on signs it. `status` is 2 (affirming) or 96 (contraindicated) of the AR4SI draft; the
 * claims of evidence that failed are left out, since nothing vouches for them.
 */
export function verdictEat(verdict: Verdict, options: EatOptions): Record<string, unknown> {
  const nonce = options.nonce?.length ?? 0;
  return {
    eat_profile: "tag:cocos,2026:verdict",
    iat: Math.floor(options.now / 1000),
    ...(options.nonce === undefined || nonce < 8 || nonce > 64
      ? {}
      : { eat_nonce: base64url(options.nonce) }),
    "ear.verifier-id": { developer: "cocos", build: "attestation" },
    submods: {
      [verdict.technology]: {
        "ear.status": verdict.ok ? 2 : 96,
        ...(options.policyDigest === undefined
          ? {}
          : { "ear.appraisal-policy-id": options.policyDigest }),
        "cocos.checks": verdict.checks.map(({ id, ok }) => ({ id, ok })),
        ...(verdict.ok ? { "ear.veraison.annotated-evidence": verdict.claims } : {}),
      },
    },
  };
}
