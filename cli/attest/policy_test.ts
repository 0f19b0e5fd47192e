// `cocos policy …`: edits that touch one value, PCR 16 as the agent extends it, and what is said about
// policies of the Go programs.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { builtInRoot, encodePem, parsePolicy, parseSeedPolicy } from "../../attestation/mod.ts";
import { cocos, inFolder } from "../_fakes.ts";
import { amd, CRL_PATH, FORGED, NOW, VCEK_PATH, vendor } from "./_vendors.ts";

const SEED = Deno.readTextFileSync(
  new URL("../../attestation/testdata/policy/attestation_policy.json", import.meta.url),
);
const TDX = new URL(
  "../../attestation/testdata/policy/attestation_policy_tdx.json",
  import.meta.url,
);
const PCRS = new URL("../../attestation/testdata/policy/pcr_values.json", import.meta.url);

const MANIFEST = JSON.stringify({ id: "1", name: "sum", description: "" });

Deno.test("cocos policy measurement and hostdata change one value and nothing else", async () => {
  await inFolder(async (dir) => {
    const file = `${dir}/p.json`;
    for (
      const [verb, name, bytes] of [["measurement", "measurement", 48], [
        "hostdata",
        "hostData",
        32,
      ]] as const
    ) {
      await Deno.writeTextFile(file, SEED);
      const value = new Uint8Array(bytes).fill(7);
      const { exit, err } = await cocos(["policy", verb, value.toBase64(), file]);
      assert.deepEqual([exit, err], [0, ""]);
      const after = parseSeedPolicy(await Deno.readTextFile(file));
      assert.deepEqual(after.policy[name], value);
      assert.equal(after.policy.minimumTcb, 15352208179752599555n);
      assert.deepEqual({ ...after.policy, [name]: 0 }, {
        ...parseSeedPolicy(SEED).policy,
        [name]: 0,
      });
    }
  });
});

Deno.test("cocos policy measurement and hostdata have the Go CLI's texts for mistakes", async () => {
  await inFolder(async (dir) => {
    const file = `${dir}/p.json`;
    await Deno.writeTextFile(file, SEED);
    await Deno.writeTextFile(`${dir}/bad.json`, "{");
    const good = new Uint8Array(48).toBase64();
    const cases: [string[], string][] = [
      [
        ["measurement", "!", file],
        "Error could not change measurement data: base64 string could not be decoded",
      ],
      [
        ["measurement", "AAAA", file],
        "Error could not change measurement data: data does not have an adequate length",
      ],
      [
        ["hostdata", good, file],
        "Error could not change host data: data does not have an adequate length",
      ],
      [
        ["measurement", good, `${dir}/none`],
        "Error could not change measurement data: error while reading the attestation policy file",
      ],
      [
        ["measurement", good, `${dir}/bad.json`],
        "Error could not change measurement data: failed to unmarshal json",
      ],
      [
        ["extend", `${dir}/bad.json`, file],
        "Error could not extend PCR16: failed to unmarshal json",
      ],
    ];
    for (const [argv, text] of cases) {
      const { exit, err } = await cocos(["policy", ...argv]);
      assert.notEqual(exit, 0);
      assert.ok(err.startsWith(text), err);
    }
    assert.equal(await Deno.readTextFile(file), SEED);
  });
});

Deno.test("cocos policy extend gives the PCR 16 that the agent's extension gives", async () => {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/p.json`, SEED);
    await Deno.writeTextFile(`${dir}/m.json`, MANIFEST);
    const { exit, err } = await cocos(["policy", "extend", `${dir}/p.json`, `${dir}/m.json`]);
    assert.deepEqual([exit, err], [0, ""]);
    const { pcrValues } = parseSeedPolicy(await Deno.readTextFile(`${dir}/p.json`));
    // By node:crypto, over the digest that `checksum -m` prints.
    const sum =
      JSON.parse((await cocos(["checksum", "-m", `${dir}/m.json`, "--json"])).out).sha3_256;
    const expected = createHash("sha256").update(new Uint8Array(32))
      .update(Uint8Array.fromHex(sum)).digest("hex");
    assert.equal(pcrValues.sha256?.["16"], expected);
    assert.equal(pcrValues.sha384?.["16"]?.length, 96);
    // A second manifest goes on from there; other registers stay.
    await cocos(["policy", "extend", `${dir}/p.json`, `${dir}/m.json`]);
    const twice = parseSeedPolicy(await Deno.readTextFile(`${dir}/p.json`)).pcrValues;
    assert.equal(
      twice.sha256?.["16"],
      createHash("sha256").update(Uint8Array.fromHex(expected)).update(Uint8Array.fromHex(sum))
        .digest("hex"),
    );
    assert.deepEqual({ ...twice.sha256, "16": "" }, {
      ...parseSeedPolicy(SEED).pcrValues.sha256,
      "16": "",
    });
  });
});

Deno.test("cocos policy extend --compat gives the Go CLI's value and says that it is worth nothing", async () => {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/p.json`, "{}");
    await Deno.writeTextFile(`${dir}/m.json`, MANIFEST);
    const { err } = await cocos(["policy", "extend", `${dir}/p.json`, `${dir}/m.json`, "--compat"]);
    assert.match(err, /^weakness: --compat/);
    const hash = (...parts: Uint8Array[]) => {
      const made = createHash("sha512-256");
      for (const part of parts) made.update(part);
      return new Uint8Array(made.digest());
    };
    const { pcrValues } = parseSeedPolicy(await Deno.readTextFile(`${dir}/p.json`));
    const inner = hash(new TextEncoder().encode(MANIFEST));
    assert.equal(pcrValues.sha256?.["16"], hash(new Uint8Array(32), inner).toHex());
  });
});

Deno.test("cocos policy lint names holes and exits with 5 when there is one", async () => {
  await inFolder(async (dir) => {
    const good = await cocos(["policy", "lint", TDX.pathname]);
    assert.match(good.out, /^(hole|weakness): /);
    await Deno.writeTextFile(`${dir}/p.json`, SEED);
    assert.equal((await cocos(["policy", "lint", `${dir}/p.json`])).exit, 0);
    await Deno.writeTextFile(`${dir}/p.json`, SEED.replace(/"measurement": "[^"]*",/, ""));
    const { exit, out } = await cocos(["policy", "lint", `${dir}/p.json`]);
    assert.equal(exit, 5);
    assert.match(out, /^hole: snp\.measurement: any code may run in the guest$/m);
    const json = JSON.parse((await cocos(["policy", "lint", `${dir}/p.json`, "--json"])).out);
    assert.ok(json.findings.some(({ weight }: { weight: string }) => weight === "hole"));
  });
});

Deno.test("cocos policy import takes each file of the Go programs, explain and diff read the result", async () => {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/seed.json`, SEED);
    const made = await cocos(["policy", "import", `${dir}/seed.json`, "-o", `${dir}/ours.json`]);
    assert.equal(made.exit, 0, made.err);
    const policy = parsePolicy(await Deno.readTextFile(`${dir}/ours.json`));
    assert.deepEqual([policy.snp?.vmpl, policy.tpm?.binding], [[2], "report-data"]);
    const again = await cocos(["policy", "import", `${dir}/seed.json`, "-o", `${dir}/ours.json`]);
    assert.match(again.err, /something of that name exists/);
    const explained = await cocos(["policy", "explain", `${dir}/ours.json`]);
    assert.match(explained.out, /^evidence\.kinds: .*\nsnp\.format: /);
    assert.match(explained.out, /\ntpm\.pcrs\.values: sha256:/);
    const other = (await Deno.readTextFile(`${dir}/ours.json`)).replace(
      '"provisional": "any"',
      '"provisional": "off"',
    );
    await Deno.writeTextFile(`${dir}/other.json`, other);
    const { out } = await cocos(["policy", "diff", `${dir}/ours.json`, `${dir}/other.json`]);
    assert.equal(out, 'snp.firmware.provisional: "any" -> "off" (stricter)\n');
    assert.ok(parsePolicy((await cocos(["policy", "import", TDX.pathname])).out).tdx);
    assert.ok(parsePolicy((await cocos(["policy", "import", PCRS.pathname])).out).tpm);
    await Deno.writeTextFile(`${dir}/x.json`, '{"policy": {"measurement": ""}}');
    assert.match((await cocos(["policy", "import", `${dir}/x.json`])).err, /names no product line/);
    assert.equal(
      (await cocos(["policy", "import", `${dir}/x.json`, "--product", "Genoa"])).exit,
      0,
    );
  });
});

Deno.test("cocos policy generate makes a policy that its own evidence satisfies", async () => {
  await using kds = amd();
  await inFolder(async (dir) => {
    await Deno.writeFile(`${dir}/r.bin`, FORGED.report);
    const pem = [FORGED.root, FORGED.intermediate].map((der) => encodePem(der, "CERTIFICATE"));
    await Deno.writeTextFile(`${dir}/ca.pem`, pem.join(""));
    const options = { env: { HOME: dir, COCOS_AMD_KDS_URL: kds.url }, now: NOW };
    const generate = ["policy", "generate", `${dir}/r.bin`, "--trusted_root", `${dir}/ca.pem`];
    const { exit, err } = await cocos([...generate, "-o", `${dir}/p.json`], options);
    assert.equal(exit, 0, err);
    assert.deepEqual(kds.asked, [VCEK_PATH, CRL_PATH]);
    const validate = ["attestation", "validate", `${dir}/r.bin`, "--config", `${dir}/p.json`];
    const flags = ["--report_data", "aa".repeat(64), "--CA_bundles_paths", `${dir}/ca.pem`];
    const judged = await cocos([...validate, ...flags], options);
    assert.equal(judged.exit, 0, judged.out + judged.err);
    await Deno.writeFile(`${dir}/r.bin`, FORGED.report.with(0x90, 0));
    const refused = await cocos(generate, options);
    assert.equal(refused.exit, 5);
    assert.match(refused.err, /Cannot trust this snp evidence: snp\.signature/);
  });
});

const FOLDER = "/gce_tcb_integrity/ovmf_x64_csm";
const ENDORSED = `${FOLDER}/sevsnp/${"bb".repeat(48)}.binarypb`;

Deno.test("cocos policy gcp and download use what Google's endorsement says, when it is signed", async () => {
  await inFolder(async (dir) => {
    const digest = createHash("sha384").update(FORGED.firmware).digest("hex");
    await using google = vendor({
      [ENDORSED]: () => new Response(FORGED.endorsement as BodyInit),
      [`${FOLDER}/${digest}.fd`]: () => new Response(FORGED.firmware as BodyInit),
    });
    const options = { env: { COCOS_GOOGLE_STORAGE_URL: google.url }, now: NOW };
    await Deno.writeFile(`${dir}/r.bin`, FORGED.report);
    await Deno.writeTextFile(`${dir}/root.pem`, encodePem(FORGED.endorsementRoot, "CERTIFICATE"));
    const gcp = (vcpus: string, ...more: string[]) =>
      cocos(["policy", "gcp", `${dir}/r.bin`, vcpus, "-o", `${dir}/p.json`, ...more], options);
    const loose = await gcp("4");
    assert.equal(loose.exit, 0, loose.err);
    assert.match(loose.err, /^weakness: Google's root is not pinned/);
    assert.match(loose.err, /Attestation policy file generated successfully/);
    const { policy } = parseSeedPolicy(await Deno.readTextFile(`${dir}/p.json`));
    assert.deepEqual(policy.measurement, new Uint8Array(48).fill(0x44));
    assert.equal((await gcp("2", "--root", `${dir}/root.pem`)).exit, 0);
    assert.match((await gcp("3")).err, /no measurement for 3 vCPUs/);
    await Deno.writeTextFile(`${dir}/root.pem`, encodePem(builtInRoot("Milan").raw, "CERTIFICATE"));
    assert.equal((await gcp("2", "--root", `${dir}/root.pem`)).exit, 5);
    const cwd = Deno.cwd();
    Deno.chdir(dir);
    try {
      const got = await cocos(["policy", "download", `${dir}/r.bin`], options);
      assert.match(got.err, /OVMF firmware in vm is unmodified\nOVMF file downloaded successfully/);
      assert.deepEqual(await Deno.readFile("ovmf.fd"), FORGED.firmware);
      google.answers.set(`${FOLDER}/${digest}.fd`, () => new Response("other"));
      assert.match(
        (await cocos(["policy", "download", `${dir}/r.bin`], options)).err,
        /not endorsed/,
      );
    } finally {
      Deno.chdir(cwd);
    }
    const changed = FORGED.endorsement.with(300, (FORGED.endorsement[300] as number) ^ 1);
    google.answers.set(ENDORSED, () => new Response(changed as BodyInit));
    assert.notEqual((await gcp("2")).exit, 0);
  });
});

Deno.test("cocos policy azure takes a token's values and says that nothing signed them", async () => {
  await inFolder(async (dir) => {
    const tee = {
      "x-ms-attestation-type": "sevsnpvm",
      "x-ms-compliance-status": "azure-compliant-cvm",
      "x-ms-sevsnpvm-familyId": "01".repeat(16),
      "x-ms-sevsnpvm-imageId": "02".repeat(16),
      "x-ms-sevsnpvm-launchmeasurement": "03".repeat(48),
      "x-ms-sevsnpvm-idkeydigest": "04".repeat(48),
      "x-ms-sevsnpvm-reportid": "05".repeat(32),
      "x-ms-sevsnpvm-hostdata": "00".repeat(32),
      "x-ms-sevsnpvm-is-debuggable": false,
      "x-ms-sevsnpvm-migration-allowed": false,
      "x-ms-sevsnpvm-guestsvn": 7,
      "x-ms-sevsnpvm-bootloader-svn": 3,
      "x-ms-sevsnpvm-tee-svn": 0,
      "x-ms-sevsnpvm-snpfw-svn": 8,
      "x-ms-sevsnpvm-microcode-svn": 115,
    };
    const payload = {
      iss: "https://maa.example",
      iat: 1,
      nbf: 1,
      exp: 2,
      "x-ms-isolation-tee": tee,
    };
    const part = (value: unknown) =>
      new TextEncoder().encode(JSON.stringify(value)).toBase64({
        alphabet: "base64url",
        omitPadding: true,
      });
    await Deno.writeTextFile(
      `${dir}/t.jwt`,
      `${part({ alg: "RS256", kid: "1" })}.${part(payload)}.AAAA`,
    );
    const azure = ["policy", "azure", `${dir}/t.jwt`, "Milan", "-o", `${dir}/p.json`];
    const { exit, err } = await cocos(azure);
    assert.equal(exit, 0, err);
    assert.match(err, /^weakness: the token's signature is not checked/);
    const { policy, rootOfTrust } = parseSeedPolicy(await Deno.readTextFile(`${dir}/p.json`));
    assert.deepEqual(
      [policy.policy, policy.measurement?.toHex(), policy.minimumGuestSvn, rootOfTrust],
      [196639n, "03".repeat(48), 7n, { productLine: "Milan", checkCrl: true }],
    );
    await Deno.writeTextFile(`${dir}/keys.json`, '{"keys":[]}');
    assert.equal((await cocos([...azure, "--keys", `${dir}/keys.json`])).exit, 5);
  });
});

Deno.test("cocos policy shows names of hostile files without their control characters", async () => {
  await inFolder(async (dir) => {
    const hostile =
      '{"policy": {"\\u001b[31mred\\u202e": 1}, "root_of_trust": {"product_line": "Milan"}}';
    await Deno.writeTextFile(`${dir}/p.json`, hostile);
    for (const verb of ["lint", "import"]) {
      const { out, err } = await cocos(["policy", verb, `${dir}/p.json`]);
      // deno-lint-ignore no-control-regex
      assert.doesNotMatch(out + err, /[\x1b\u202e]/);
      assert.match(out + err, /\\u001b\[31mred/);
    }
    await Deno.writeTextFile(`${dir}/p.json`, '{"cocosPolicy": 1, "\\u001b[31mred": 1}');
    const { err } = await cocos(["policy", "lint", `${dir}/p.json`]);
    assert.match(
      err,
      /^cocos: Cannot read a policy: line 1: \\u001b\[31mred is not a known name\n/,
    );
  });
});
