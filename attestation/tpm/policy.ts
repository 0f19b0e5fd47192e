// What a policy asks of a TPM. Every field must be named: what is missing fails its check.
import type { Bank } from "../banks.ts";
import { ANY, NOT_SET, type OrAny } from "../verdict.ts";
import type { AkBindingKind } from "./binding.ts";

/** Accepted values of registers: bank → index → lower-case hex values, one of which must be found. */
export type PcrExpectations = {
  readonly [bank in Bank]?: { readonly [index: number]: readonly string[] };
};

/** A policy over a TPM quote. */
export interface TpmPolicy {
  /** How the attestation key must be bound; the session brings what that way needs. */
  readonly binding?: AkBindingKind;
  /** `session`: extraData must be the session's nonce. */
  readonly nonce?: "session" | typeof ANY;
  /**
   * Banks that count. At least one of them must be quoted, with every register of
   * {@linkcode TpmPolicy.registers}; `sha1` never counts.
   */
  readonly banks?: readonly Bank[];
  /** Registers that must be quoted. */
  readonly registers?: readonly number[];
  /** Values; each named bank and register must be quoted. */
  readonly pcrs?: OrAny<PcrExpectations>;
  /**
   * The TPM's boot counters: another value means the machine was reset or resumed since. A TPM blurs
   * both counters for keys outside of the endorsement and platform hierarchies, by a constant per key.
   */
  readonly counters?: OrAny<{ readonly resetCount: number; readonly restartCount: number }>;
}

/** The checks of a TPM verdict, in order. */
export const TPM_CHECKS = [
  "tpm.ak.format",
  "tpm.ak.attributes",
  "tpm.ak.binding",
  "tpm.quote.format",
  "tpm.quote.signature",
  "tpm.quote.nonce",
  "tpm.quote.clock",
  "tpm.counters",
  "tpm.pcrs.digest",
  "tpm.pcrs.bank",
  "tpm.pcrs.selection",
  "tpm.pcrs.values",
] as const;

/** Id of a check. */
export type TpmCheck = (typeof TPM_CHECKS)[number];

/** What each check asks for under a policy. */
export const TPM_EXPECTED: { readonly [id in TpmCheck]: (policy: TpmPolicy) => string } = {
  "tpm.ak.format": () => "a TPM key of RSA-2048 or more, or of P-256, P-384 or P-521",
  "tpm.ak.attributes": () =>
    "restricted, sign, fixedTPM, fixedParent, sensitiveDataOrigin; no decrypt",
  "tpm.ak.binding": ({ binding }) => binding ?? NOT_SET,
  "tpm.quote.format": () => "at least one TPMS_ATTEST of a quote, made by a TPM",
  "tpm.quote.signature": () => "every quote signed by the attestation key with SHA-256 or stronger",
  "tpm.quote.nonce": ({ nonce }) => nonce === "session" ? "the session's nonce" : nonce ?? NOT_SET,
  "tpm.quote.clock": () => "all quotes of one boot, in order",
  "tpm.counters": ({ counters }) =>
    counters === undefined || counters === ANY
      ? counters ?? NOT_SET
      : `reset ${counters.resetCount}, restart ${counters.restartCount}`,
  "tpm.pcrs.digest": () => "exactly the selected registers, hashing to each quote's digest",
  "tpm.pcrs.bank": ({ banks }) => listed(banks),
  "tpm.pcrs.selection": ({ registers }) => listed(registers),
  "tpm.pcrs.values": ({ pcrs }) =>
    pcrs === undefined ? NOT_SET : pcrs === ANY ? ANY : valuesText(pcrs),
};

/** What a person can do about each failed check. */
export const TPM_REMEDIES: { readonly [id in TpmCheck]: string } = {
  "tpm.ak.format": "Make the attestation key by a common template and send its public area.",
  "tpm.ak.attributes": "Make a restricted signing key: any other key signs forged quotes.",
  "tpm.ak.binding": "Bind the key to the TEE's report, give its certificate, or pin it.",
  "tpm.quote.format": "Ask for a new quote.",
  "tpm.quote.signature": "The quote was changed, or is by another key.",
  "tpm.quote.nonce":
    "Ask for a new quote with a nonce of your own: this one is of another session.",
  "tpm.quote.clock": "Ask for all banks in one go: the machine was reset in between.",
  "tpm.counters":
    "The machine was reset or resumed since: appraise it anew and store its counters.",
  "tpm.pcrs.digest": "Send the values of exactly the quoted registers.",
  "tpm.pcrs.bank": "Quote the SHA-256 bank; SHA-1 alone proves nothing.",
  "tpm.pcrs.selection": "Quote every register the policy names, in a bank that counts.",
  "tpm.pcrs.values": "The machine booted something else; compare its event log with a good one.",
};

function listed(values: readonly (string | number)[] | undefined): string {
  return values === undefined || values.length === 0 ? NOT_SET : values.join(", ");
}

function valuesText(pcrs: PcrExpectations): string {
  const texts = Object.entries(pcrs).flatMap(([bank, values]) =>
    Object.entries(values).map(([index, list]) => `${bank}:${index}=${list.join("|")}`)
  );
  return texts.length === 0 ? NOT_SET : texts.join(" ");
}
