// TDX evidence with collateral from a fake PCS that serves real statements of Intel: a green verdict
// while they are valid, none afterwards, and none for another platform or a changed byte.
import assert from "node:assert/strict";
import { decodeAttestation, encodeAttestation } from "../../attestation/mod.ts";
import { cocos, inFolder } from "../_fakes.ts";
import { nobody, type Vendor, vendor } from "./_vendors.ts";

const VECTORS = new URL("../../attestation/testdata/tdx/", import.meta.url);
const quote = Deno.readFileSync(new URL("v4-b0c06f-quote.bin", VECTORS));
const stored = JSON.parse(
  Deno.readTextFileSync(new URL("v4-b0c06f-collateral.json", VECTORS)),
) as Record<string, string>;

/** A time at which Intel's statements of the vector are valid (vectors' README). */
const THEN = Date.UTC(2025, 6, 1);
const TCB = "/tdx/certification/v4/tcb?fmspc=b0c06f000000";
const QE = "/tdx/certification/v4/qe/identity";
const CRL = (ca: string) => `/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`;
const ROOT = "/IntelSGXRootCA.der";

const hexOrText = (name: string) => stored[name] as string;

/** A PCS with the statements of the vector. */
function pcs(change: Readonly<Record<string, string>> = {}): Vendor {
  const of = { ...stored, ...change };
  const statement = (name: string, inner: string, header: string, chain: string) => () =>
    new Response(`{"${inner}":${of[name]},"signature":"${of[`${name}_signature`]}"}`, {
      headers: { [header]: encodeURIComponent(of[chain] as string) },
    });
  const crl = (name: string) => () =>
    new Response(Uint8Array.fromHex(of[name] as string) as BodyInit);
  return vendor({
    [TCB]: statement("tcb_info", "tcbInfo", "TCB-Info-Issuer-Chain", "tcb_info_issuer_chain"),
    [QE]: statement(
      "qe_identity",
      "enclaveIdentity",
      "SGX-Enclave-Identity-Issuer-Chain",
      "qe_identity_issuer_chain",
    ),
    [CRL("platform")]: crl("pck_crl"),
    [CRL("processor")]: crl("pck_crl"),
    [ROOT]: crl("root_ca_crl"),
  });
}

const at = (from: number, length: number) => quote.subarray(from, from + length).toHex();
const FLAGS = [
  "--mode",
  "tdx",
  "--report_data",
  at(0x238, 64),
  "--mr_td",
  at(0xb8, 48),
  "--rtmrs",
  [0, 1, 2, 3].map((index) => at(0x178 + 48 * index, 48)).join(","),
];

async function judged(dir: string, intel: string, more: readonly string[] = [], now = THEN) {
  await Deno.writeFile(`${dir}/quote.bin`, quote);
  const outcome = await cocos(["attestation", "validate", `${dir}/quote.bin`, ...FLAGS, ...more], {
    env: { HOME: dir, COCOS_INTEL_PCS_URL: intel, COCOS_INTEL_ROOT_CRL_URL: intel + ROOT },
    now,
  });
  const failed = [...outcome.out.matchAll(/^FAIL (\S+)$/gm)].map(([, id]) => id as string);
  return { ...outcome, failed };
}

Deno.test("cocos attestation validate --mode tdx is green with Intel's statements, and keeps them", async () => {
  await inFolder(async (dir) => {
    await using intel = pcs();
    const { exit, out, err } = await judged(dir, intel.url);
    assert.equal(exit, 0, out + err);
    assert.match(out, /\nok {3}tdx\.tcb\.status: UpToDate/);
    assert.equal(intel.asked.length, 4);
    // Again, within the day: nobody is asked.
    assert.equal((await judged(dir, intel.url)).exit, 0);
    assert.equal(intel.asked.length, 4);
    // Days later the server is down: the statements are still valid, and are used.
    const later = await judged(dir, nobody(), [], THEN + 2 * 86_400_000);
    assert.equal(later.exit, 5); // another address is another item
    const url = intel.url;
    await intel[Symbol.asyncDispose]();
    const down = await judged(dir, url, [], THEN + 2 * 86_400_000);
    assert.equal(down.exit, 0, down.out);
    assert.match(down.err, /which is still valid/);
    // And when they have expired, they are not.
    const expired = await judged(dir, url, [], Date.UTC(2025, 7, 1));
    assert.equal(expired.exit, 5);
    assert.ok(expired.failed.includes("tdx.collateral.tcb-info"), expired.failed.join());
  });
});

Deno.test("A-7 cocos attestation validate --mode tdx refuses without, or with other, statements", async () => {
  const flip = (text: string) => text.replace('"pcesvn":11', '"pcesvn":1');
  const tcb = hexOrText("tcb_info");
  assert.notEqual(flip(tcb), tcb);
  const cases: [Record<string, string>, string][] = [
    [{ tcb_info: flip(tcb) }, "tdx.collateral.tcb-info"],
    [{ tcb_info: tcb.replace("B0C06F000000", "50806F000000") }, "tdx.collateral.tcb-info"],
    [{ tcb_info_signature: "00".repeat(64) }, "tdx.collateral.tcb-info"],
    [{ qe_identity_signature: "11".repeat(64) }, "tdx.collateral.qe-identity"],
    [{ pck_crl: hexOrText("root_ca_crl") }, "tdx.revocation.pck"],
    [{ root_ca_crl: hexOrText("pck_crl") }, "tdx.revocation.root"],
  ];
  for (const [change, id] of cases) {
    await inFolder(async (dir) => {
      await using intel = pcs(change);
      const { exit, failed } = await judged(dir, intel.url);
      assert.equal(exit, 5, id);
      assert.ok(failed.includes(id), `${id}: ${failed.join()}`);
      const kept = [...await Array.fromAsync(Deno.readDir(dir))].map(({ name }) => name);
      assert.ok(!kept.includes(".cocos"), "what did not hold was kept");
    });
  }
  await inFolder(async (dir) => {
    const { exit, failed } = await judged(dir, nobody());
    assert.deepEqual([exit, failed.includes("tdx.collateral.tcb-info")], [5, true]);
    const waived = await judged(dir, nobody(), ["--get_collateral", "false"]);
    assert.equal(waived.exit, 0, waived.out);
    assert.match(waived.err, /hole: tdx\.tcb\.collateral: evidence passes without/);
  });
});

Deno.test("A-1 cocos attestation validate --mode tdx compares report data and every register", async () => {
  await inFolder(async (dir) => {
    await using intel = pcs();
    const cases: [string, string, string][] = [
      ["report_data", "00".repeat(64), "tdx.report-data"],
      ["mr_td", "00".repeat(48), "tdx.mrtd"],
      ["rtmrs", Array(4).fill("01".repeat(48)).join(","), "tdx.rtmr0"],
      ["mr_seam", "00".repeat(48), "tdx.mrseam"],
      ["xfam", "00".repeat(8), "tdx.xfam"],
      ["minimum_qe_svn", "999", "tdx.qe-svn"],
    ];
    for (const [name, value, id] of cases) {
      const { exit, failed } = await judged(dir, intel.url, [`--${name}`, value]);
      assert.equal(exit, 5, name);
      assert.equal(failed[0]?.replaceAll("-", ""), id.replaceAll("-", ""), failed.join());
    }
  });
});

Deno.test("A-8 cocos attestation validate judges a TDX quote and a TPM quote of one attestation file together", async () => {
  const gce = decodeAttestation(
    Deno.readFileSync(new URL("../tpm/gce-cos85-nonce9009.attestation.pb", VECTORS)),
  );
  const any = "any";
  const policy = {
    cocosPolicy: 1,
    tdx: {
      ...{ mrTd: at(0xb8, 48), rtmr0: any, rtmr1: any, rtmr2: any, rtmr3: any },
      ...{ mrConfigId: any, mrOwner: any, mrOwnerConfig: any },
      tcb: { collateral: any },
    },
    tpm: { binding: "any", registers: [0, 1, 2, 3, 4, 5, 6, 7], pcrs: any },
    eventLog: { kind: "tcg", registers: [0, 1, 2, 3, 4, 5, 7, 8, 9] },
  };
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/policy.json`, JSON.stringify(policy));
    const run = async (tdx: Uint8Array, reportData = at(0x238, 64)) => {
      await Deno.writeFile(`${dir}/a.bin`, encodeAttestation({ ...gce, tdx }));
      const { exit, out, err } = await cocos(
        [
          ...["attestation", "validate", `${dir}/a.bin`, "--config", `${dir}/policy.json`],
          ...["--nonce", "9009", "--report_data", reportData, "--offline"],
        ],
        { env: { HOME: dir }, now: THEN },
      );
      return [exit, ...[...out.matchAll(/^FAIL (\S+)$/gm)].map(([, id]) => id), exit === 2 && err];
    };
    assert.deepEqual(await run(quote), [0, false]);
    assert.deepEqual(await run(quote, "11".repeat(64)), [5, "tdx.report-data", false]);
    const changed = quote.slice();
    changed[0xb8] = (changed[0xb8] as number) ^ 1;
    assert.deepEqual(await run(changed), [5, "tdx.signature", "tdx.mrtd", false]);
  });
});
