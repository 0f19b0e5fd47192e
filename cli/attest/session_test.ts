// Values that come with a request: compared always, whatever the policy takes, and never ignored
// (threat A-1).
import assert from "node:assert/strict";
import {
  decodeAttestation,
  formatPolicy,
  type SnpPolicy,
  snpPolicy,
  tcbOf,
} from "../../attestation/mod.ts";
import { cocos, inFolder } from "../_fakes.ts";
import { amd, FORGED, nobody, NOW, snpFiles } from "./_vendors.ts";

/** Judges the forged report under a policy of our own format, with more flags. */
async function judged(
  policy: Partial<Pick<SnpPolicy, "reportData" | "hostData">>,
  flags: readonly string[],
) {
  await using kds = amd();
  const result = { exit: -1, failed: [] as (string | undefined)[], err: "" };
  await inFolder(async (dir) => {
    await snpFiles(dir);
    const snp = snpPolicy({
      products: ["Milan"],
      roots: [FORGED.rootKey],
      measurement: ["bb".repeat(48)],
      tcb: { reported: tcbOf({ bootloader: 4, tee: 1, snp: 24, microcode: 219 }) },
      ...policy,
    });
    await Deno.writeTextFile(`${dir}/policy.json`, formatPolicy({ name: "own", snp }));
    const outcome = await cocos(
      [
        ...["attestation", "validate", `${dir}/report.bin`, "--config", `${dir}/policy.json`],
        ...["--CA_bundles_paths", `${dir}/ca.pem`, ...flags],
      ],
      {
        env: { HOME: dir, COCOS_AMD_KDS_URL: kds.url, COCOS_INTEL_PCS_URL: nobody() },
        now: NOW,
      },
    );
    result.exit = outcome.exit;
    result.err = outcome.err;
    result.failed = [...outcome.out.matchAll(/^FAIL (\S+)$/gm)].map(([, id]) => id);
  });
  return result;
}

const AA = "aa".repeat(64);
const BB = "bb".repeat(64);
const ZERO = "00".repeat(32);
const ONE = "11".repeat(32);

Deno.test("A-1 cocos attestation validate compares a given value, whatever the policy takes", async () => {
  const open = { reportData: "any", hostData: "any" };
  assert.equal((await judged(open, [])).exit, 0);
  assert.equal((await judged(open, ["--report_data", AA, "--host_data", ZERO])).exit, 0);
  const stale = await judged(open, ["--report_data", BB]);
  assert.deepEqual([stale.exit, stale.failed], [5, ["snp.report-data"]]);
  const other = await judged(open, ["--report_data", AA, "--host_data", ONE]);
  assert.deepEqual([other.exit, other.failed], [5, ["snp.host-data"]]);
});

Deno.test("A-1 cocos attestation validate gives the session's host data to a policy that asks for it", async () => {
  const session = { hostData: "session" };
  assert.equal((await judged(session, ["--report_data", AA, "--host_data", ZERO])).exit, 0);
  const other = await judged(session, ["--report_data", AA, "--host_data", ONE]);
  assert.deepEqual(other.failed, ["snp.host-data"]);
  const unsaid = await judged(session, ["--report_data", AA]);
  assert.equal(unsaid.exit, 2);
  assert.match(unsaid.err, /required flag\(s\) "host_data" not set/);
});

Deno.test("A-1 cocos attestation validate refuses a value that contradicts the policy's own", async () => {
  assert.equal((await judged({ reportData: AA }, ["--report_data", AA])).exit, 0);
  assert.equal((await judged({ reportData: AA }, [])).exit, 0);
  const wrong = await judged({ reportData: AA }, ["--report_data", BB]);
  assert.equal(wrong.exit, 2);
  assert.match(wrong.err, /the report data given is bb.*, the policy demands aa/);
});

Deno.test("A-1 cocos verify judges a bundle by values of your own session, and names the holes of its policy", async () => {
  await using kds = amd();
  await inFolder(async (dir) => {
    const argv = await snpFiles(dir);
    const env = { HOME: dir, COCOS_AMD_KDS_URL: kds.url, COCOS_INTEL_PCS_URL: nobody() };
    const bundle = `${dir}/b.json`;
    const at = argv.indexOf("--measurement");
    const open = argv.with(at + 1, "any");
    assert.equal((await cocos([...open, "--bundle", bundle], { env, now: NOW })).exit, 0);
    const own = await cocos(["verify", "--offline", bundle], { env, now: NOW });
    assert.equal(own.exit, 0);
    assert.match(own.err, /hole: snp\.measurement: any code may run in the guest/);
    const right = ["verify", "--offline", bundle, "--report_data", AA];
    assert.equal((await cocos(right, { env, now: NOW })).exit, 0);
    const stale = await cocos(right.with(4, BB), { env, now: NOW });
    assert.equal(stale.exit, 5);
    assert.match(stale.out, /FAIL snp\.report-data/);
  });
});

Deno.test("A-1 cocos attestation validate compares report data as it stands where the TPM's key is bound otherwise", async () => {
  await using kds = amd();
  await inFolder(async (dir) => {
    await snpFiles(dir);
    await Deno.writeFile(`${dir}/a.bin`, FORGED.attestation);
    const snp = {
      products: ["Milan"],
      roots: [FORGED.rootKey],
      measurement: "bb".repeat(48),
      tcb: { reported: { bootloader: 4, tee: 1, snp: 24, microcode: 219 } },
    };
    const tpm = { binding: "any", registers: [0, 7], pcrs: "any" };
    await Deno.writeTextFile(`${dir}/p.json`, JSON.stringify({ cocosPolicy: 1, snp, tpm }));
    const reportData = decodeAttestation(FORGED.attestation).snp?.report.subarray(0x50, 0x90);
    const run = async (value: string) => {
      const { exit, out } = await cocos(
        [
          ...["attestation", "validate", `${dir}/a.bin`, "--config", `${dir}/p.json`],
          ...["--CA_bundles_paths", `${dir}/ca.pem`, "--nonce", "11".repeat(32)],
          ...["--report_data", value],
        ],
        { env: { HOME: dir, COCOS_AMD_KDS_URL: kds.url }, now: NOW },
      );
      return [exit, ...[...out.matchAll(/^FAIL (\S+)$/gm)].map(([, id]) => id)];
    };
    assert.deepEqual(await run(reportData?.toHex() ?? ""), [0]);
    assert.deepEqual(await run(AA), [5, "snp.report-data"]);
  });
});
