// Launch endorsements made like Google's, right and wrong: each check must be the one that refuses.
import assert from "node:assert/strict";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { integer, sequence } from "../forge/der.ts";
import { authorityExtensions, certificate, extension, name, rsaPair } from "../forge/pki.ts";
import { assertHelpful } from "../forge/verdicts.ts";
import { toHex, verdictOf } from "../verdict.ts";
import { encodePem, Oid, sha } from "../x509/mod.ts";
import {
  appraiseGcpEndorsement,
  explainGcpEndorsement,
  GCP_CHECKS,
  type GcpEndorsementContext,
  type GcpEndorsementPolicy,
  parseEndorsement,
} from "./gcp.ts";

const NOW = Date.UTC(2026, 5, 1);
const DAY = 86_400_000;
const measurement = new Uint8Array(48).fill(0x4d);
const googleRoot = name([[Oid.COMMON_NAME, "Test cloud root"]]);
const googleMiddle = name([[Oid.COMMON_NAME, "Test cloud intermediate"]]);
/** basicConstraints of an authority with nobody, or nobody but leaves, below. */
const constrained = (limit: number) => [
  extension(Oid.BASIC_CONSTRAINTS, sequence(Uint8Array.of(1, 1, 0xff), integer(limit)), true),
  extension(Oid.KEY_USAGE, Uint8Array.of(3, 2, 1, 0x06), true),
];
const signsData = [
  extension(Oid.BASIC_CONSTRAINTS, sequence(Uint8Array.of(1, 1, 0xff)), true),
  extension(Oid.KEY_USAGE, Uint8Array.of(3, 2, 7, 0x80), true),
];
const googleSigner = name([[Oid.COMMON_NAME, "Test cloud signer"]]);

interface Order {
  readonly signer?: "ark" | "ask";
  readonly by?: "ark" | "ask" | "asvk";
  readonly notAfter?: number;
  readonly change?: (bytes: Uint8Array) => Uint8Array;
  /** Extensions of the root. */
  readonly authority?: readonly Uint8Array[];
  /** A certificate between signer and root, with these extensions. */
  readonly middle?: readonly Uint8Array[];
  readonly twice?: boolean;
}

async function make(order: Order = {}): Promise<Uint8Array> {
  const common = { algorithm: "rsa-sha256", notBefore: NOW - DAY, notAfter: NOW + DAY } as const;
  const root = await certificate({
    ...common,
    subject: googleRoot,
    issuer: googleRoot,
    spki: rsaPair("ark").spki,
    signer: rsaPair("ark"),
    extensions: order.authority ?? authorityExtensions(),
  });
  const middle = order.middle === undefined ? undefined : await certificate({
    ...common,
    subject: googleMiddle,
    issuer: googleRoot,
    spki: rsaPair("asvk").spki,
    signer: rsaPair("ark"),
    extensions: order.middle,
  });
  const bundle = middle === undefined ? [root] : [middle, root];
  const signer = await certificate({
    ...common,
    notAfter: order.notAfter ?? NOW + DAY,
    subject: googleSigner,
    issuer: middle === undefined ? googleRoot : googleMiddle,
    spki: rsaPair("ask").spki,
    signer: rsaPair(middle === undefined ? order.signer ?? "ark" : "asvk"),
  });
  const entry = (vcpus: number, value: Uint8Array) =>
    new BinaryWriter().tag(1, 0).uint32(vcpus).tag(2, 2).bytes(value).finish();
  const snp = new BinaryWriter().tag(1, 0).uint32(3)
    .tag(2, 2).bytes(entry(2, measurement))
    .tag(2, 2).bytes(entry(order.twice ? 2 : 4, new Uint8Array(48).fill(4)))
    .tag(5, 0).uint64(0x30000n).finish();
  const td = new BinaryWriter().tag(1, 0).uint32(16).tag(3, 2).bytes(new Uint8Array(48).fill(0x7d))
    .finish();
  const tdx = new BinaryWriter().tag(1, 0).uint32(1).tag(2, 2).bytes(td).finish();
  const golden = new BinaryWriter()
    .tag(1, 2).bytes(new BinaryWriter().tag(1, 0).int64(1_700_000_000).finish())
    .tag(4, 2).bytes(signer)
    .tag(5, 2).bytes(new Uint8Array(48).fill(0xf0))
    .tag(6, 2).bytes(
      new TextEncoder().encode(bundle.map((der) => encodePem(der, "CERTIFICATE")).join("")),
    )
    .tag(7, 2).bytes(snp)
    .tag(8, 2).bytes(tdx)
    .finish();
  const signature = await rsaPair(order.by ?? "ask").sign("rsa-pss-sha256", golden);
  const whole = new BinaryWriter().tag(1, 2).bytes(golden).tag(2, 2).bytes(signature).finish();
  return order.change?.(whole) ?? whole;
}

const policy: GcpEndorsementPolicy = {
  technology: "gcp-endorsement",
  roots: [toHex(await sha(384, rsaPair("ark").spki))],
  minimumSvn: 1,
  firmware: "any",
  vcpus: [2],
};
const context: GcpEndorsementContext = { now: NOW, measurement, technology: "snp" };

interface Case {
  readonly order?: Order;
  readonly policy?: Partial<Record<keyof GcpEndorsementPolicy, unknown>>;
  readonly context?: Partial<GcpEndorsementContext>;
  readonly first?: true;
}

const CASES: Record<(typeof GCP_CHECKS)[number], Case[]> = {
  "gcp.format": [
    { order: { change: (bytes) => bytes.subarray(0, 100) }, first: true },
    { order: { change: () => new Uint8Array() }, first: true },
    { order: { twice: true }, first: true },
    { order: { change: (bytes) => Uint8Array.from([...bytes, ...bytes]) }, first: true },
  ],
  "gcp.root": [{ policy: { roots: ["00".repeat(48)] } }, { policy: { roots: [] } }, {
    policy: { roots: undefined },
  }],
  "gcp.chain": [
    { order: { signer: "ask" } },
    { order: { authority: [] } },
    { order: { authority: signsData } },
    { order: { middle: [] } },
    { order: { middle: signsData } },
    { order: { middle: authorityExtensions(), authority: constrained(0) } },
  ],
  "gcp.validity": [{ order: { notAfter: NOW - 1000 } }],
  "gcp.signature": [{ order: { by: "asvk" } }],
  "gcp.measurement": [
    { context: { measurement: new Uint8Array(48) } },
    { policy: { vcpus: [4] } },
    { policy: { vcpus: undefined } },
    { context: { technology: "tdx", measurement: new Uint8Array(48) }, policy: { vcpus: "any" } },
  ],
  "gcp.svn": [{ policy: { minimumSvn: 4 } }],
  "gcp.firmware": [{ policy: { firmware: ["00".repeat(48)] } }],
};

for (const [id, cases] of Object.entries(CASES)) {
  Deno.test(`appraiseGcpEndorsement() ${id} refuses each of its ${cases.length} attacks`, async () => {
    for (const each of cases) {
      const verdict = await appraiseGcpEndorsement(
        await make(each.order),
        { ...policy, ...each.policy } as GcpEndorsementPolicy,
        { ...context, ...each.context },
      );
      const failed = verdict.checks.filter((check) => !check.ok).map((check) => check.id);
      assertHelpful(verdict);
      if (each.first) assert.equal(failed[0], id);
      else {
        assert.deepEqual(failed, [id]);
        assert.equal(
          verdictOf("gcp", verdict.checks.filter((check) => check.id !== id), {}).ok,
          true,
        );
      }
    }
  });
}

Deno.test("appraiseGcpEndorsement() accepts what is endorsed, for SNP by vCPUs and for TDX", async () => {
  const bytes = await make();
  assert.deepEqual(
    (await appraiseGcpEndorsement(bytes, policy, context)).checks.filter((each) => !each.ok),
    [],
  );
  const longer = await make({ middle: constrained(0), authority: constrained(1) });
  assert.equal((await appraiseGcpEndorsement(longer, policy, context)).ok, true);
  const tdx = {
    ...context,
    technology: "tdx",
    measurement: new Uint8Array(48).fill(0x7d),
  } as const;
  assert.equal((await appraiseGcpEndorsement(bytes, { ...policy, vcpus: "any" }, tdx)).ok, true);
  assert.equal(parseEndorsement(bytes).golden.snp?.policy, 0x30000n);
  assert.deepEqual(explainGcpEndorsement(policy).map(({ id }) => id), [...GCP_CHECKS]);
});

Deno.test("A-14 appraiseGcpEndorsement() refuses every flipped bit it is shown", async () => {
  const bytes = await make();
  for (let bit = 0; bit < bytes.length * 8; bit += 97) {
    const copy = bytes.slice();
    copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
    assert.equal((await appraiseGcpEndorsement(copy, policy, context)).ok, false, `bit ${bit}`);
  }
});
