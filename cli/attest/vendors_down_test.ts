// Threat A-13 as a person meets it: one command, a vendor's server that is down, lying or redirecting,
// and what was kept from better days. Lists are valid for 30 days, a kept one is fresh for one.
import assert from "node:assert/strict";
import { cocos, inFolder } from "../_fakes.ts";
import {
  CRL_PATH,
  FORGED,
  nobody,
  NOW,
  snpFiles,
  VCEK_PATH,
  type Vendor,
  vendor,
} from "./_vendors.ts";

const DAY = 86_400_000;

/** A server that has the chip's certificate and a list of 30 days. */
function good(): Vendor {
  return vendor({
    [VCEK_PATH]: () => new Response(FORGED.leaf as BodyInit),
    [CRL_PATH]: () => new Response(FORGED.crlLater as BodyInit),
  });
}

async function judged(dir: string, argv: readonly string[], url: string, now: number) {
  const env = { HOME: dir, COCOS_AMD_KDS_URL: url, COCOS_INTEL_PCS_URL: nobody() };
  const { exit, out, err } = await cocos([...argv, "--check_crl"], { env, now });
  return { exit, err, failed: [...out.matchAll(/^FAIL (\S+)$/gm)].map(([, id]) => id) };
}

Deno.test("A-13 cocos attestation validate: a server that is gone means a kept list while it is valid, then a refusal", async () => {
  await inFolder(async (dir) => {
    const argv = await snpFiles(dir);
    let url = "";
    {
      await using kds = good();
      url = kds.url;
      assert.equal((await judged(dir, argv, url, NOW)).exit, 0);
      assert.deepEqual(kds.asked, [VCEK_PATH, CRL_PATH]);
    }
    const fresh = await judged(dir, argv, url, NOW + DAY / 2);
    assert.equal(fresh.exit, 0);
    assert.doesNotMatch(fresh.err, /still valid/, "a list of today needs no server");
    const kept = await judged(dir, argv, url, NOW + 20 * DAY);
    assert.equal(kept.exit, 0);
    assert.match(kept.err, /Cannot fetch .*; using AMD's revocation list of .* still valid/);
    const expired = await judged(dir, argv, url, NOW + 31 * DAY);
    assert.equal(expired.exit, 5);
    assert.ok(expired.failed.includes("snp.revocation"));
  });
});

/** Answers of a server that can't be trusted, and what is said of each. */
const LIES: readonly (readonly [string, () => Response, RegExp])[] = [
  ["another list", () => new Response(FORGED.crlExpired as BodyInit), /it expired/],
  ["no list", () => new Response("<html>sign in</html>"), /Cannot use AMD's revocation list/],
  ["a redirection", () => Response.redirect("http://127.0.0.1:9/crl"), /redirects are refused/],
  ["an error", () => new Response("no", { status: 503 }), /status 503/],
];

for (const [name, answer, why] of LIES) {
  Deno.test(`A-13 cocos attestation validate: a server that gives ${name} changes nothing that was kept`, async () => {
    await inFolder(async (dir) => {
      const argv = await snpFiles(dir);
      await using kds = good();
      assert.equal((await judged(dir, argv, kds.url, NOW)).exit, 0);
      kds.answers.set(CRL_PATH, answer);
      const kept = await judged(dir, argv, kds.url, NOW + 2 * DAY);
      assert.equal(kept.exit, 0, kept.err);
      assert.match(kept.err, why);
      const later = await judged(dir, argv, kds.url, NOW + 31 * DAY);
      assert.equal(later.exit, 5);
      assert.ok(later.failed.includes("snp.revocation"));
    });
  });
}

Deno.test("A-13 cocos attestation validate: a forged list in good form is refused and not kept", async () => {
  await inFolder(async (dir) => {
    const argv = await snpFiles(dir);
    await using kds = good();
    const forged = FORGED.crlLater.slice();
    forged[forged.length - 1] = (forged[forged.length - 1] as number) ^ 1;
    kds.answers.set(CRL_PATH, () => new Response(forged as BodyInit));
    const lied = await judged(dir, argv, kds.url, NOW);
    assert.deepEqual([lied.exit, lied.failed], [5, ["snp.revocation"]]);
    kds.answers.set(CRL_PATH, () => new Response(FORGED.crlLater as BodyInit));
    assert.equal((await judged(dir, argv, kds.url, NOW)).exit, 0, "nothing of the lie was kept");
  });
});
