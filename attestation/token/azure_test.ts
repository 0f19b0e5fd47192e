// Tokens made like those of Azure's attestation service, right and wrong: each check must be the one
// that refuses. The key set always comes from the configuration.
import assert from "node:assert/strict";
import { rsaPair } from "../forge/pki.ts";
import { madeClaims, MEASUREMENT } from "../forge/token.ts";
import { vector } from "../testdata/vectors.ts";
import { assertHelpful } from "../forge/verdicts.ts";
import { verdictOf } from "../verdict.ts";
import { base64url, encodeBase64, parseKey } from "../x509/mod.ts";
import { only, Tag } from "../x509/mod.ts";
import {
  appraiseAzureToken,
  AZURE_TOKEN_CHECKS,
  type AzureTokenContext,
  type AzureTokenPolicy,
  azureTokenPolicy,
  explainAzureToken,
} from "./azure.ts";
import { parseKeySet } from "./keys.ts";

const ISSUER = "https://maa.example";
const NOW = Date.UTC(2026, 5, 1);
const SECONDS = NOW / 1000;
const nonce = new Uint8Array(32).fill(0x5a);
const sample = madeClaims();

function jwkOf(name: "ark" | "ask") {
  const key = parseKey(only(rsaPair(name).spki, Tag.SEQUENCE, "a key"), "a key");
  assert.ok(key.kind === "rsa");
  return { kty: "RSA", n: base64url(key.modulus), e: base64url(key.exponent) };
}

const keySet = JSON.stringify({
  keys: [{ kid: "k1", use: "sig", ...jwkOf("ark") }, { kty: "EC", kid: "k2" }],
});
const [pinned] = await parseKeySet(keySet);
assert.ok(pinned);

const bytes = (text: string) => new TextEncoder().encode(text);

interface Token {
  /** Changes of the claims; `undefined` takes one away. */
  readonly claims?: Record<string, unknown>;
  readonly tee?: Record<string, unknown>;
  readonly header?: Record<string, unknown>;
  /** The texts themselves instead. */
  readonly headerText?: string;
  readonly claimsText?: (text: string) => string;
  readonly signer?: "ark" | "ask";
  readonly edit?: (token: string) => string;
}

async function make(each: Token): Promise<string> {
  const claims = {
    ...sample,
    iss: ISSUER,
    iat: SECONDS - 10,
    nbf: SECONDS - 10,
    exp: SECONDS + 3600,
    "x-ms-runtime": { "client-payload": { nonce: encodeBase64(nonce) } },
    ...each.claims,
    "x-ms-isolation-tee": { ...sample["x-ms-isolation-tee"] as object, ...each.tee },
  };
  const header = each.headerText ??
    JSON.stringify({ alg: "RS256", kid: "k1", typ: "JWT", jku: `${ISSUER}/certs`, ...each.header });
  const text = JSON.stringify(claims);
  const signed = `${base64url(bytes(header))}.${base64url(bytes(each.claimsText?.(text) ?? text))}`;
  const signature = await rsaPair(each.signer ?? "ark").sign("rsa-sha256", bytes(signed));
  const token = `${signed}.${base64url(signature)}`;
  return each.edit?.(token) ?? token;
}

interface Case extends Token {
  readonly policy?: Partial<Record<keyof AzureTokenPolicy, unknown>>;
  readonly context?: Partial<AzureTokenContext>;
  readonly first?: true;
}

const policy = azureTokenPolicy({
  issuer: ISSUER,
  keys: [pinned.thumbprint],
  measurement: [MEASUREMENT],
});

async function appraise(each: Case) {
  return await appraiseAzureToken(
    await make(each),
    { ...policy, ...each.policy } as AzureTokenPolicy,
    {
      now: NOW,
      nonce,
      keySet,
      ...each.context,
    },
  );
}

const CASES: Record<(typeof AZURE_TOKEN_CHECKS)[number], Record<string, Case>> = {
  "token.format": {
    "A-12 alg none without signature": {
      header: { alg: "none" },
      edit: (t) => t.replace(/[^.]*$/, ""),
      first: true,
    },
    "A-12 duplicate claims": {
      claimsText: (text) => text.replace("{", '{"iss":"https://evil.example",'),
      first: true,
    },
    "A-12 duplicate header names": {
      headerText: '{"alg":"RS256","alg":"none","kid":"k1"}',
      first: true,
    },
    "A-12 a key in the header": { header: { jwk: jwkOf("ask") }, first: true },
    "A-12 x5u": { header: { x5u: "https://evil.example" }, first: true },
    "A-12 crit": { header: { crit: ["exp"] }, first: true },
    "A-12 padding": { edit: (t) => `${t}=`, first: true },
    "A-12 four parts": { edit: (t) => `${t}.x`, first: true },
    "A-12 claims that are no object": { claimsText: () => "[]", first: true },
    "A-14 depth bomb": { claimsText: () => "[".repeat(10_000), first: true },
    "A-14 empty": { edit: () => "", first: true },
    "A-14 oversized": { edit: (t) => t + "A".repeat(70_000), first: true },
    "claims without any signature": { edit: () => JSON.stringify(sample), first: true },
  },
  "token.algorithm": {
    "A-12 HS256": { header: { alg: "HS256" }, first: true },
    "A-12 PS256": { header: { alg: "PS256" }, first: true },
    "A-12 none with a signature": { header: { alg: "none" }, first: true },
  },
  "token.key-source": {
    "A-12 jku of an attacker": { header: { jku: "https://evil.example/certs" } },
    "A-12 jku below the issuer": { header: { jku: `${ISSUER}/certs/../evil` } },
  },
  "token.key": {
    "A-12 kid with a path": { header: { kid: "../../k1" }, first: true },
    "A-12 no kid": { header: { kid: undefined }, first: true },
    "A-12 key not pinned": { policy: { keys: ["00".repeat(32)] }, first: true },
    "A-11 no key pinned": { policy: { keys: [] }, first: true },
    "A-13 key set empty": { context: { keySet: "" }, first: true },
    "A-12 two keys of one id": {
      context: {
        keySet: JSON.stringify({
          keys: [{ kid: "k1", ...jwkOf("ark") }, { kid: "k1", ...jwkOf("ask") }],
        }),
      },
      first: true,
    },
    "A-12 a key of another kind": { header: { kid: "k2" }, first: true },
  },
  "token.signature": {
    "A-12 signed by another key": { signer: "ask" },
    "A-12 claims changed after signing": {
      edit: (t) => {
        const [head, body = "", signature] = t.split(".");
        const text = atob(body.replaceAll("-", "+").replaceAll("_", "/")).replace(
          '"secureboot":true',
          '"secureboot":false',
        );
        return `${head}.${base64url(bytes(text))}.${signature}`;
      },
    },
  },
  "token.claims": {
    "A-12 no exp": { claims: { exp: undefined }, first: true },
    "A-12 no nbf": { claims: { nbf: undefined }, first: true },
    "A-12 exp as text": { claims: { exp: "9999999999" }, first: true },
    "A-12 exp with fraction": { claims: { exp: SECONDS + 0.5 }, first: true },
    "measurement missing": { tee: { "x-ms-sevsnpvm-launchmeasurement": undefined }, first: true },
    "measurement of another length": {
      tee: { "x-ms-sevsnpvm-launchmeasurement": "00" },
      first: true,
    },
    "debug as text": { tee: { "x-ms-sevsnpvm-is-debuggable": "false" }, first: true },
  },
  "token.issuer": { "A-12 another issuer": { claims: { iss: "https://maa.example.evil" } } },
  "token.time": {
    "A-12 expired": { claims: { exp: SECONDS - 61 } },
    "A-12 nbf in the future": { claims: { nbf: SECONDS + 61 } },
    "A-12 issued in the future": { claims: { iat: SECONDS + 61 } },
    "A-13 older than the policy allows": { policy: { maximumAgeSeconds: 5, skewSeconds: 0 } },
    "A-13 a skew beyond reason": { policy: { skewSeconds: 86_400 } },
    "A-11 absent": { policy: { skewSeconds: undefined } },
    "A-13 clock a day behind": { context: { now: NOW - 86_400_000 } },
  },
  "token.audience": {
    "A-12 for somebody": { claims: { aud: "https://other.example" } },
    "A-12 for two": { claims: { aud: ["me", "other"] }, policy: { audience: ["me"] } },
    "A-12 none where one is due": { policy: { audience: ["me"] } },
  },
  "token.nonce": {
    "A-1 another nonce": { context: { nonce: new Uint8Array(32) } },
    "A-1 no nonce in the token": { claims: { "x-ms-runtime": {} } },
    "A-1 no nonce known": { context: { nonce: undefined } },
    "A-1 empty nonce on both sides": {
      claims: { "x-ms-runtime": {} },
      context: { nonce: new Uint8Array() },
    },
  },
  "token.isolation": {
    "A-3 another kind": { policy: { isolation: ["tdxvm"] } },
    "A-11 none named": { policy: { isolation: [] } },
  },
  "token.compliance": {
    "not compliant": { tee: { "x-ms-compliance-status": "unknown" } },
    "missing": { tee: { "x-ms-compliance-status": undefined } },
  },
  "token.policy-hash": { "another attestation policy": { policy: { policyHash: ["xxx"] } } },
  "token.measurement": {
    "another image": { policy: { measurement: ["00".repeat(48)] } },
    "A-11 empty": { policy: { measurement: [] } },
  },
  "token.host-data": { "other host data": { policy: { hostData: ["11".repeat(32)] } } },
  "token.debug": { "A-5 debug": { tee: { "x-ms-sevsnpvm-is-debuggable": true } } },
  "token.migration": { "A-5 migration": { tee: { "x-ms-sevsnpvm-migration-allowed": true } } },
  "token.secure-boot": {
    "without Secure Boot": { claims: { secureboot: false }, policy: { secureBoot: "on" } },
  },
  "token.guest-svn": { "A-4 below": { policy: { minimumGuestSvn: 2 } } },
  "token.bootloader": { "A-4 below": { policy: { minimumBootloader: 3 } } },
  "token.tee": { "A-4 below": { policy: { minimumTee: 1 } } },
  "token.snp": { "A-4 below": { policy: { minimumSnp: 3 } } },
  "token.microcode": { "A-4 below": { policy: { minimumMicrocode: 56 } } },
  "token.tcb-status": {
    "A-7 a TD out of date": {
      tee: {
        "x-ms-attestation-type": "tdxvm",
        tdx_mrtd: MEASUREMENT,
        tdx_mrconfigid: "00".repeat(48),
        tdx_td_attributes: "0000001000000000",
        attester_tcb_status: "OutOfDate",
      },
      policy: { isolation: ["tdxvm"] },
    },
  },
};

for (const [id, cases] of Object.entries(CASES)) {
  Deno.test(`A-12 appraiseAzureToken() ${id} refuses: ${Object.keys(cases).join("; ")}`, async () => {
    for (const [name, each] of Object.entries(cases)) {
      const verdict = await appraise(each);
      const failed = verdict.checks.filter((check) => !check.ok).map((check) => check.id);
      assertHelpful(verdict);
      assert.equal(verdict.ok, false, name);
      if (each.first) assert.equal(failed[0], id, name);
      else {
        assert.deepEqual(failed, [id], name);
        assert.equal(
          verdictOf("azure-token", verdict.checks.filter((check) => check.id !== id), {}).ok,
          true,
        );
      }
    }
  });
}

Deno.test("appraiseAzureToken() accepts a right token of an SNP VM and of a TD, by pin or by key set", async () => {
  const good = await appraise({});
  assert.deepEqual(good.checks.filter((each) => !each.ok), []);
  assert.equal(good.claims.measurement, MEASUREMENT);
  assert.equal((await appraise({ policy: { keys: "any" } })).ok, true);
  const td = await appraise({
    tee: {
      "x-ms-attestation-type": "tdxvm",
      tdx_mrtd: MEASUREMENT,
      tdx_mrconfigid: "00".repeat(48),
      tdx_td_attributes: "0000001000000000",
      attester_tcb_status: "UpToDate",
    },
    policy: { isolation: ["tdxvm"] },
  });
  assert.deepEqual(td.checks.filter((each) => !each.ok), []);
  assert.deepEqual(explainAzureToken(policy).map(({ id }) => id), [...AZURE_TOKEN_CHECKS]);
});

Deno.test("A-12 appraiseAzureToken() never takes claims of an unsigned token into the verdict", async () => {
  assert.deepEqual((await appraise({ signer: "ask" })).claims, {});
  const sample = vector("azure/maa-sample-claims.json");
  if (sample === undefined) return;
  const text = new TextDecoder().decode(sample);
  const issuer = (JSON.parse(text) as { iss: string }).iss;
  const body = base64url(bytes(text));
  const header = base64url(bytes('{"alg":"RS256","kid":"k1"}'));
  for (const token of [text, body, `${header}.${body}.`, `${header}.${body}.AAAA`]) {
    const verdict = await appraiseAzureToken(token, { ...policy, issuer }, {
      now: 1653000000000,
      nonce,
      keySet,
    });
    assert.equal(verdict.ok, false);
    assert.deepEqual(verdict.claims, {});
  }
});
