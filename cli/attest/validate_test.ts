// `cocos attestation validate` and `cocos verify` against forged evidence and fake vendors' servers:
// verdicts as lists, exit codes, refusals, and nothing that is green for want of a value.
import assert from "node:assert/strict";
import {
  BUNDLE_VERSION,
  formatPolicy,
  INSECURE_SIMULATED_ROOT,
  issueSimulated,
  snpPolicy,
  tcbOf,
} from "../../attestation/mod.ts";
import { cocos, inFolder } from "../_fakes.ts";
import { amd, FORGED, nobody, NOW, snpFiles, VCEK_PATH } from "./_vendors.ts";
import { reportToJson } from "./report_json.ts";

/** Runs with a home of its own and the forged time. */
async function judged(
  dir: string,
  argv: readonly string[],
  env: Record<string, string> = {},
  now = NOW,
) {
  const outcome = await cocos(argv, {
    env: { HOME: dir, COCOS_AMD_KDS_URL: nobody(), COCOS_INTEL_PCS_URL: nobody(), ...env },
    now,
  });
  const failed = [...outcome.out.matchAll(/^FAIL (\S+)$/gm)].map(([, id]) => id as string);
  return { ...outcome, failed };
}

Deno.test("cocos attestation validate fetches the chip's certificate and lists every check", async () => {
  await using kds = amd();
  await inFolder(async (dir) => {
    const argv = await snpFiles(dir);
    const { exit, out, err } = await judged(dir, argv, { COCOS_AMD_KDS_URL: kds.url });
    assert.equal(exit, 0, out + err);
    assert.match(out, /^ok {3}evidence\.kinds: snp\n/);
    assert.match(out, /\nok {3}snp\.signature: holds\n/);
    assert.match(out, new RegExp(`\\nok {3}snp\\.measurement: ${"bb".repeat(48)}\\n`));
    assert.match(out, /\ntrusted: all \d+ checks hold\n$/);
    assert.match(err, /^Checking attestation\n/);
    assert.match(err, /\nAttestation validation and verification is successful!\n$/);
    assert.deepEqual(kds.asked, [VCEK_PATH]);
  });
});

Deno.test("cocos attestation validate names each value that differs and exits with 5", async () => {
  await using kds = amd();
  await inFolder(async (dir) => {
    const argv = await snpFiles(dir);
    const with_ = (name: string, value: string) => {
      const at = argv.indexOf(`--${name}`);
      return at < 0
        ? [...argv, `--${name}`, value]
        : [...argv.slice(0, at + 1), value, ...argv.slice(at + 2)];
    };
    const cases: [string, string, string][] = [
      ["report_data", "ab".repeat(64), "snp.report-data"],
      ["measurement", "bc".repeat(48), "snp.measurement"],
      ["host_data", "01".repeat(32), "snp.host-data"],
      ["family_id", "01".repeat(16), "snp.family-id"],
      ["image_id", "01".repeat(16), "snp.image-id"],
      ["report_id", "01".repeat(32), "snp.report-id"],
      ["report_id_ma", "01".repeat(32), "snp.report-id-ma"],
      ["chip_id", "01".repeat(64), "snp.chip-id"],
      ["minimum_tcb", "0xdb19000000000104", "snp.tcb.reported"], // SNP 25, there is 24
      ["minimum_lauch_tcb", "15787649968723984644", "snp.tcb.launch"],
      ["minimum_guest_svn", "1", "snp.guest-svn"],
      ["minimum_build", "30", "snp.firmware.build"],
      ["minimum_version", "1.56", "snp.firmware.version"],
      ["stepping", "2", "snp.product"],
      ["vmpl", "1", "snp.vmpl"],
      ["platform_info", "0x8", "snp.platform.rapl-off"],
      ["require_author_key", "true", ""],
      ["guest_policy", "0x130000", "snp.guest.single-socket"],
    ];
    for (const [name, value, id] of cases) {
      const { exit, failed, out, err } = await judged(dir, with_(name, value), {
        COCOS_AMD_KDS_URL: kds.url,
      });
      if (id === "") {
        assert.equal(exit, 2, err); // an ID block is wanted and no key is named
        assert.match(err, /requires an ID block but names no key/);
        continue;
      }
      assert.equal(exit, 5, `${name}: ${err}`);
      // A minimum of REPORTED_TCB holds for the current and the committed one as well.
      assert.deepEqual(failed.slice(0, 1), [id], name);
      assert.equal(failed.length, id === "snp.tcb.reported" ? 3 : 1, failed.join());
      assert.match(out, /NOT trusted: [13] of \d+ checks failed\n$/);
      assert.match(
        err,
        new RegExp(`failed with error: ${id.replaceAll(".", "\\.")} does not hold`),
      );
    }
  });
});

Deno.test("A-11 cocos attestation validate refuses to judge without expectations", async () => {
  await inFolder(async (dir) => {
    const argv = await snpFiles(dir);
    const without = (name: string) => {
      const at = argv.indexOf(`--${name}`);
      return [...argv.slice(0, at), ...argv.slice(at + 2)];
    };
    const report = `${dir}/report.bin`;
    const cases: [string[], RegExp][] = [
      [without("measurement"), /without an expected measurement/],
      [without("report_data"), /required flag\(s\) "report_data" not set/],
      [without("product"), /it names no product line/],
      [
        ["attestation", "validate", report, "--mode", "tdx", "--report_data", "00".repeat(64)],
        /mr_td/,
      ],
      [["attestation", "validate", report, "--mode", "vtpm", "--nonce", "00"], /PCR values/],
      [
        ["attestation", "validate", report, "--mode", "vtpm", "--nonce", "00", "--pcrs", "any"],
        /nothing vouches for its key/,
      ],
      [["attestation", "validate", report, "--mode", "simulated"], /without a policy/],
    ];
    for (const [each, text] of cases) {
      const { exit, err, out } = await judged(dir, each);
      assert.equal(exit, 2, err);
      assert.match(err, text);
      assert.equal(out, "");
    }
  });
});

Deno.test("cocos attestation validate has the Go CLI's texts for wrong lengths", async () => {
  await inFolder(async (dir) => {
    const argv = await snpFiles(dir);
    const snp = {
      host_data: 32,
      family_id: 16,
      image_id: 16,
      report_id: 32,
      report_id_ma: 32,
      measurement: 48,
      chip_id: 64,
      report_data: 64,
    };
    for (const [name, bytes] of Object.entries(snp)) {
      const { exit, err } = await judged(dir, [...argv, `--${name}`, "00"]);
      assert.equal(exit, 2);
      assert.match(err, new RegExp(`: ${name} length should be at least ${bytes} bytes long`));
    }
    const tdx = {
      qe_vendor_id: 16,
      mr_seam: 48,
      td_attributes: 8,
      xfam: 8,
      mr_td: 48,
      mr_config_id: 48,
      mr_owner: 48,
      mr_config_owner: 48,
      minimum_tee_tcb_svn: 16,
      rtmrs: 48,
    };
    for (const [name, bytes] of Object.entries(tdx)) {
      const { err } = await judged(dir, [...argv, "--mode", "tdx", `--${name}`, "00"]);
      assert.match(err, new RegExp(`: ${name} length should be at least ${bytes} bytes long`));
    }
    const { err } = await judged(dir, [...argv, "--measurement", "00".repeat(49)]);
    assert.match(err, /measurement length should be exactly 48 bytes long/);
    await Deno.writeFile(`${dir}/report.bin`, FORGED.report.subarray(0, 0x49f));
    const short = await judged(dir, argv);
    assert.equal(short.exit, 5);
    assert.match(
      short.err,
      /attestation too small: got 0x49f bytes, need at least 0x4a0 bytes/,
    );
  });
});

Deno.test("cocos attestation validate --json prints the verdict as one object", async () => {
  await using kds = amd();
  await inFolder(async (dir) => {
    const argv = [...await snpFiles(dir), "--json"];
    const env = { COCOS_AMD_KDS_URL: kds.url };
    const good = await judged(dir, argv, env);
    const verdict = JSON.parse(good.out);
    assert.deepEqual([good.exit, verdict.ok, good.err], [0, true, ""]);
    assert.ok(verdict.checks.length > 40);
    assert.equal(verdict.claims.snp.measurement, "bb".repeat(48));
    const bad = await judged(dir, [...argv, "--chip_id", "00".repeat(64)], env);
    const refused = JSON.parse(bad.out);
    assert.deepEqual([bad.exit, refused.ok], [5, false]);
    assert.deepEqual(
      refused.checks.filter((each: { ok: boolean }) => !each.ok).map((each: { id: string }) =>
        each.id
      ),
      ["snp.chip-id"],
    );
  });
});

Deno.test("A-6 cocos attestation validate refuses another root, a revoked and a stale chain", async () => {
  await inFolder(async (dir) => {
    const argv = await snpFiles(dir);
    const own = argv.slice(0, argv.indexOf("--CA_bundles_paths"));
    await using kds = amd();
    const env = { COCOS_AMD_KDS_URL: kds.url };
    // AMD's own root is pinned unless another is named: the forged chain is nothing then.
    assert.equal((await judged(dir, own, env)).exit, 5);
    const crl = [...argv, "--check_crl"];
    assert.equal((await judged(dir, crl, env)).exit, 0);
    for (const list of [FORGED.crlRevoked, FORGED.crlExpired, FORGED.leaf]) {
      await inFolder(async (home) => {
        await using lying = amd(list);
        const { exit, failed } = await judged(home, crl, { COCOS_AMD_KDS_URL: lying.url });
        assert.equal(exit, 5);
        assert.ok(failed.includes("snp.revocation"), failed.join());
      });
    }
    await inFolder(async (home) => {
      const { exit, failed, err } = await judged(home, crl);
      assert.equal(exit, 5);
      assert.ok(failed.includes("snp.leaf"));
      assert.match(err, /\nCannot fetch http:/);
    });
  });
});

Deno.test("cocos attestation validate reads the JSON form of a report", async () => {
  await using kds = amd();
  await inFolder(async (dir) => {
    const argv = await snpFiles(dir);
    await Deno.writeTextFile(`${dir}/a.json`, reportToJson(FORGED.report));
    argv[2] = `${dir}/a.json`;
    const env = { COCOS_AMD_KDS_URL: kds.url };
    assert.equal((await judged(dir, argv, env)).exit, 0);
    const text = reportToJson(FORGED.report).replace('"vmpl"', '"other"').replace(
      '"version": 5',
      '"version": 4',
    );
    await Deno.writeTextFile(`${dir}/a.json`, text);
    assert.equal((await judged(dir, argv, env)).exit, 5);
  });
});

Deno.test("cocos attestation validate judges SNP with a vTPM bound by its report", async () => {
  await inFolder(async (dir) => {
    const argv = await snpFiles(dir);
    await Deno.writeFile(`${dir}/report.bin`, FORGED.attestation);
    const policy = {
      pcr_values: {
        sha256: Object.fromEntries(
          Array.from({ length: 8 }, (_, at) => [String(at), `0${at + 1}`.repeat(32)]),
        ),
      },
    };
    await Deno.writeTextFile(`${dir}/config.json`, JSON.stringify(policy));
    const vtpm = [
      ...argv,
      "--mode",
      "snp-vtpm",
      "--format",
      "binarypb",
      "--nonce",
      "11".repeat(32),
    ];
    const config = [...vtpm, "--config", `${dir}/config.json`, "--output", `${dir}/out.txt`];
    const good = await judged(dir, config);
    assert.equal(good.exit, 0, good.out + good.err);
    assert.match(good.out, /\nok {3}tpm\.ak\.binding/);
    assert.match(await Deno.readTextFile(`${dir}/out.txt`), /^ak_pub: /);
    const cases: [string[], string][] = [
      [[...config, "--nonce", "12".repeat(32)], "tpm.quote.nonce"],
      [[...config, "--report_data", "ab".repeat(64)], "snp.report-data"],
    ];
    for (const [each, id] of cases) {
      const { exit, failed } = await judged(dir, each);
      assert.equal(exit, 5);
      assert.ok(failed.includes(id), failed.join());
    }
    const other = JSON.stringify(policy).replace('"01010101', '"02010101');
    await Deno.writeTextFile(`${dir}/config.json`, other);
    assert.deepEqual((await judged(dir, config)).failed, ["tpm.pcrs.values"]);
    assert.equal((await judged(dir, vtpm)).exit, 2);
    assert.equal((await judged(dir, [...vtpm, "--pcrs", "any"])).exit, 0);
    // The container as text.
    await Deno.copyFile(`${dir}/out.txt`, `${dir}/report.bin`);
    const text = vtpm.map((word) => word === "binarypb" ? "textproto" : word);
    assert.equal((await judged(dir, [...text, "--pcrs", "any"])).exit, 0);
  });
});

Deno.test("A-3 A-18 the policy says which evidence is judged, and simulated evidence passes no other", async () => {
  await inFolder(async (dir) => {
    await snpFiles(dir);
    const snp = snpPolicy({
      products: ["Milan"],
      measurement: ["bb".repeat(48)],
      roots: [FORGED.rootKey],
      tcb: { reported: tcbOf({ snp: 1, microcode: 1 }) },
    });
    await Deno.writeTextFile(`${dir}/snp.json`, formatPolicy({ name: "p", snp }));
    const of = (policy: string, file: string, ...more: string[]) =>
      judged(dir, [
        "attestation",
        "validate",
        `${dir}/${file}`,
        "--config",
        `${dir}/${policy}`,
        "--report_data",
        "aa".repeat(64),
        "--CA_bundles_paths",
        `${dir}/ca.pem`,
        ...more,
      ]);
    const { exit, err } = await of("snp.json", "report.bin", "--mode", "tdx");
    assert.equal(exit, 2);
    assert.match(err, /Cannot judge tdx evidence: the policy demands snp/);
    const claims = {
      measurement: new Uint8Array(48).fill(0xbb),
      reportData: new Uint8Array(64).fill(0xaa),
      hostData: new Uint8Array(32),
    };
    await Deno.writeFile(
      `${dir}/sim.bin`,
      Uint8Array.from([...issueSimulated(claims), ...new Uint8Array(1500)]),
    );
    const simulated = {
      technology: "simulated",
      insecure: true,
      roots: [INSECURE_SIMULATED_ROOT],
      measurement: ["bb".repeat(48)],
      reportData: "session",
      hostData: "any",
    } as const;
    await Deno.writeTextFile(`${dir}/sim.json`, formatPolicy({ name: "p", simulated }));
    assert.equal((await of("sim.json", "sim.bin")).exit, 5); // bytes behind it
    await Deno.writeFile(`${dir}/sim.bin`, issueSimulated(claims));
    const admitted = await of("sim.json", "sim.bin");
    assert.equal(admitted.exit, 0);
    assert.match(admitted.out, /INSECURE: this evidence is simulated and proves nothing/);
    assert.equal((await of("snp.json", "sim.bin")).exit, 5);
  });
});

Deno.test("cocos verify judges a bundle again, offline, as of its time", async () => {
  await using kds = amd();
  await inFolder(async (dir) => {
    const argv = [...await snpFiles(dir), "--check_crl", "--bundle", `${dir}/b.json`];
    const first = await judged(dir, [...argv, "--eat", `${dir}/eat.json`], {
      COCOS_AMD_KDS_URL: kds.url,
    });
    assert.equal(first.exit, 0, first.err);
    assert.equal(JSON.parse(await Deno.readTextFile(`${dir}/b.json`)).cocosBundle, BUNDLE_VERSION);
    const eat = JSON.parse(await Deno.readTextFile(`${dir}/eat.json`));
    assert.equal(eat.submods.evidence["ear.status"], 2);
    const years = NOW + 5 * 365 * 86_400_000;
    const verify = ["verify", "--offline", `${dir}/b.json`];
    const again = await judged(dir, verify, {}, years);
    assert.equal(again.exit, 0, again.out);
    assert.equal(again.out, first.out);
    assert.match(again.err, /^Judged as of 2026-06-01T00:00:00\.000Z\n/);
    const late = await judged(dir, [...verify, "--time", new Date(years).toISOString()]);
    assert.equal(late.exit, 5);
    assert.ok(late.failed.includes("snp.validity"));
    const other = snpPolicy({
      products: ["Milan"],
      measurement: ["00".repeat(47) + "01"],
      roots: [FORGED.rootKey],
      tcb: { reported: tcbOf({ snp: 1, microcode: 1 }) },
    });
    await Deno.writeTextFile(`${dir}/p.json`, formatPolicy({ name: "p", snp: other }));
    const mine = await judged(dir, [...verify, "--policy", `${dir}/p.json`, "--eat", `${dir}/e2`]);
    assert.equal(mine.exit, 5);
    assert.ok(mine.failed.includes("snp.measurement"));
    assert.equal(
      JSON.parse(await Deno.readTextFile(`${dir}/e2`)).submods.evidence["ear.status"],
      96,
    );
    await Deno.writeTextFile(`${dir}/b.json`, "{}");
    assert.equal((await judged(dir, verify)).exit, 2);
  });
});

Deno.test("cocos attestation validate that is interrupted while it fetches exits with 130", async () => {
  await using kds = amd();
  const asked = Promise.withResolvers<void>();
  kds.answers.set(VCEK_PATH, () => {
    asked.resolve();
    return new Response(new ReadableStream({ pull: () => new Promise(() => {}) }));
  });
  await inFolder(async (dir) => {
    const interrupt = new AbortController();
    const running = cocos(await snpFiles(dir), {
      env: { HOME: dir, COCOS_AMD_KDS_URL: kds.url },
      now: NOW,
      signal: interrupt.signal,
    });
    await asked.promise;
    interrupt.abort();
    const { exit, out, err } = await running;
    assert.deepEqual([exit, out], [130, ""]);
    assert.match(err, /Operation aborted by user!\n$/);
  });
});
