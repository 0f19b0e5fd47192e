// `cocos attestation get` and `ima-measurements` against a fake agent on a real socket: what is asked,
// what is written, and the refusals on both sides.
import assert from "node:assert/strict";
import { decodeAttestation, formatAttestationText } from "../../attestation/mod.ts";
import { CocosError, Status } from "../../base/mod.ts";
import { makeCertificate } from "../../channel/mod.ts";
import { generateKeys } from "../../proto/mod.ts";
import { cocos, fakeAgent, goError, inFolder } from "../_fakes.ts";
import { FORGED } from "./_vendors.ts";
import { reportFromJson, reportToJson } from "./report_json.ts";

/** Runs in a folder, since the commands write where they are. */
async function inside(
  work: (run: (argv: string[]) => ReturnType<typeof cocos>, dir: string) => Promise<void>,
  env: Record<string, string>,
) {
  await inFolder(async (dir) => {
    const cwd = Deno.cwd();
    Deno.chdir(dir);
    try {
      await work((argv) => cocos(argv, { env: { HOME: dir, ...env } }), dir);
    } finally {
      Deno.chdir(cwd);
    }
  });
}

const hex = (bytes: Uint8Array) => bytes.toHex();

Deno.test("cocos attestation get asks with the nonces and keeps what the agent sends", async () => {
  const asked: string[] = [];
  await using agent = await fakeAgent({
    evidence: ({ type, teeNonce, vtpmNonce }) => {
      asked.push(`${type} ${hex(teeNonce)} ${hex(vtpmNonce)}`);
      const bytes = type === 0 || type === 4 ? FORGED.report : FORGED.attestation;
      return [bytes.subarray(0, 700), bytes.subarray(700)];
    },
  });
  await inside(async (run) => {
    const cases: [string[], string, string, Uint8Array | string][] = [
      [["snp", "--tee", "aabb"], "0 aabb ", "attestation.bin", FORGED.report],
      [["vtpm", "--vtpm", "cc"], "1  cc", "attestation.bin", FORGED.attestation],
      [
        ["snp-vtpm", "--tee", "aa", "--vtpm", "cc"],
        "2 aa cc",
        "attestation.bin",
        FORGED.attestation,
      ],
      // The Go CLI forgets --tee here.
      [["tdx", "--tee", "dd"], "4 dd ", "attestation.bin", FORGED.report],
      [["snp", "--tee", "aabb", "-r"], "0 aabb ", "attestation.json", reportToJson(FORGED.report)],
      [
        ["vtpm", "--vtpm", "cc", "--reporttextproto"],
        "1  cc",
        "attestation.json",
        formatAttestationText(decodeAttestation(FORGED.attestation)),
      ],
    ];
    for (const [argv, request, file, content] of cases) {
      const { exit, err } = await run(["attestation", "get", ...argv, "--force"]);
      assert.equal(exit, 0, err);
      assert.equal(asked.pop(), request);
      const got = await Deno.readFile(file);
      assert.deepEqual(typeof content === "string" ? new TextDecoder().decode(got) : got, content);
      assert.match(
        err,
        /^Fetching .*\nConnected to agent .*\nAttestation retrieved and saved successfully!\n$/,
      );
      assert.equal((await Deno.stat(file)).mode! & 0o777, 0o600);
    }
    const again = await run(["attestation", "get", "tdx", "--tee", "dd"]);
    assert.equal(again.exit, 1);
    assert.match(again.err, /something of that name exists/);
  }, { AGENT_GRPC_URL: agent.url });
});

Deno.test("cocos attestation get azure-token writes the token or what it says", async () => {
  const part = (value: unknown) =>
    new TextEncoder().encode(JSON.stringify(value)).toBase64({
      alphabet: "base64url",
      omitPadding: true,
    });
  const token = `${part({ alg: "RS256", kid: "k" })}.${part({ iss: "https://maa.example" })}.AAAA`;
  await using agent = await fakeAgent({
    token: ({ tokenNonce, type }) => {
      assert.deepEqual([hex(tokenNonce), type], ["0102", 3]);
      return new TextEncoder().encode(token);
    },
  });
  await inside(async (run) => {
    const get = ["attestation", "get", "azure-token", "--token", "0102"];
    assert.equal((await run([...get, "-t"])).exit, 0);
    assert.equal(await Deno.readTextFile("azure_attest_token.jwt"), `${token}\n`);
    assert.equal((await run(get)).exit, 0);
    const { header, payload } = JSON.parse(await Deno.readTextFile("azure_attest_result.json"));
    assert.deepEqual([header.alg, payload.iss], ["RS256", "https://maa.example"]);
  }, { AGENT_GRPC_URL: agent.url });
});

Deno.test("cocos attestation get refuses wrong nonces before it asks anybody", async () => {
  const cases: [string[], string][] = [
    [["vtpm"], "vTPM nonce must be defined for vTPM attestation"],
    [["snp-vtpm", "--tee", "aa"], "vTPM nonce must be defined for vTPM attestation"],
    [["snp"], "TEE nonce must be defined for SEV-SNP attestation"],
    [["snp-vtpm", "--vtpm", "aa"], "TEE nonce must be defined for SEV-SNP attestation"],
    [["azure-token"], "Token nonce must be defined for Azure attestation"],
    [
      ["snp", "--tee", "00".repeat(65)],
      "nonce must be a hex encoded string of length lesser or equal 64 bytes",
    ],
    [
      ["snp", "--tee", "xx"],
      "nonce must be a hex encoded string of length lesser or equal 64 bytes",
    ],
    [
      ["vtpm", "--vtpm", "00".repeat(33)],
      "vTPM nonce must be a hex encoded string of length lesser or equal 32 bytes",
    ],
  ];
  for (const [argv, text] of cases) {
    const { exit, err } = await cocos(["attestation", "get", ...argv]);
    assert.equal(exit, 2);
    assert.equal(err.split("\n")[0], `Failed to get attestation due to error: ${text}`);
  }
});

Deno.test("cocos attestation get shows the agent's refusals and keeps nothing", async () => {
  const refusals: [CocosError, number, RegExp][] = [
    [goError("failed to get raw quote : TEE device not found"), 1, /TEE device not found/],
    [
      new CocosError("not-supported", "failed to get vTPM quote : TPM device not found", {
        status: Status.UNIMPLEMENTED,
      }),
      1,
      /TPM device not found/,
    ],
  ];
  for (const [error, code, text] of refusals) {
    await using agent = await fakeAgent({ error });
    await inside(async (run, dir) => {
      const { exit, err } = await run(["attestation", "get", "snp", "--tee", "aa"]);
      assert.equal(exit, code);
      assert.match(err, text);
      assert.deepEqual([...Deno.readDirSync(dir)], []);
    }, { AGENT_GRPC_URL: agent.url });
  }
  await using empty = await fakeAgent({ evidence: () => [] });
  await inside(async (run, dir) => {
    assert.match((await run(["attestation", "get", "snp", "--tee", "aa"])).err, /sent no evidence/);
    assert.deepEqual([...Deno.readDirSync(dir)], []);
  }, { AGENT_GRPC_URL: empty.url });
  await using large = await fakeAgent({
    evidence: () => Array.from({ length: 5 }, () => new Uint8Array(1 << 20)),
  });
  await inside(async (run) => {
    assert.match(
      (await run(["attestation", "get", "snp", "--tee", "aa"])).err,
      /more evidence than/,
    );
  }, { AGENT_GRPC_URL: large.url });
});

Deno.test("reportFromJson() gives the bytes that reportToJson() was made of", () => {
  const extended = Uint8Array.from([...FORGED.report]);
  assert.deepEqual(reportFromJson(reportToJson(extended)), extended);
  const text = reportToJson(extended);
  for (
    const bad of [
      text.replace('"vmpl"', '"vmpI"').replace('"version": 5', '"version": 5, "x": 1'),
      text.replace('"policy": 131072', '"policy": -1'),
      text.replace('"report_data": "', '"report_data": "AA'),
      text.replace('"version": 5', '"version": 5.5'),
      "[]",
      "",
    ]
  ) assert.throws(() => reportFromJson(bad), CocosError, bad.slice(0, 60));
});

Deno.test("A-10 cocos ima-measurements replays a file against PCR 10 in each bank", async () => {
  await inFolder(async (dir) => {
    const file = `${dir}/list`;
    await Deno.writeFile(file, FORGED.imaList);
    for (const value of Object.values(FORGED.imaPcr10)) {
      const { exit, err } = await cocos(["ima-measurements", file, "--pcr10", value]);
      assert.deepEqual([exit, err], [0, "Measurements file verified!\n"]);
    }
    const wrong = await cocos(["ima-measurements", file, "--pcr10", "00".repeat(20)]);
    assert.equal(wrong.exit, 5);
    assert.match(wrong.err, /^Measurements file not verified\nhint: the replay never gives this/);
    const lines = new TextDecoder().decode(FORGED.imaList).trimEnd().split("\n");
    const changed: [string, RegExp][] = [
      [lines.slice(0, 2).join("\n") + "\n", /never gives/],
      [[...lines].reverse().join("\n") + "\n", /never gives/],
      [lines.join("\n").replace("/usr/bin/id", "/usr/bin/ix") + "\n", /digest is not of its data/],
      [[...lines, lines[0]].join("\n") + "\n", /1 entries are newer/],
      ["nonsense\n", /hint: /],
    ];
    for (const [text, why] of changed) {
      await Deno.writeTextFile(file, text);
      const { exit, err } = await cocos([
        "ima-measurements",
        file,
        "--pcr10",
        FORGED.imaPcr10.sha256,
      ]);
      assert.equal(exit, 5, text);
      assert.match(err, why);
    }
  });
});

Deno.test("cocos ima-measurements fetches the list and says whose word PCR 10 is", async () => {
  const pcr10 = Uint8Array.fromHex(FORGED.imaPcr10.sha1);
  await using agent = await fakeAgent({ ima: { file: FORGED.imaList, pcr10 } });
  await inside(async (run) => {
    const { exit, err } = await run(["ima-measurements"]);
    assert.equal(exit, 0, err);
    assert.deepEqual(await Deno.readFile("ima_measurements"), FORGED.imaList);
    assert.match(err, /^Retrieving computation Linux IMA measurements file\n/);
    assert.match(
      err,
      new RegExp(`saved successfully as ima_measurements! PCR10 = ${FORGED.imaPcr10.sha1}\\n`),
    );
    assert.match(err, /PCR 10 is the agent's word/);
    assert.match(err, /\nMeasurements file verified!\n$/);
  }, { AGENT_GRPC_URL: agent.url });
});

Deno.test("cocos attestation get asks a strict agent's door too, whose key nobody vouches for", async () => {
  const door = await makeCertificate({ commonName: "agent" });
  await using agent = await fakeAgent({ evidence: () => [FORGED.report] }, door);
  const env = { AGENT_GRPC_URL: agent.url };
  await inside(async (run, dir) => {
    const { exit, err } = await run(["attestation", "get", "snp", "--tee", "aa"]);
    assert.equal(exit, 0, err);
    assert.match(err, /Connected to agent {2}with TLS, its key is nobody's word yet/);
    assert.deepEqual(await Deno.readFile(`${dir}/attestation.bin`), FORGED.report);
    // Nothing of a party's is sent that way, in neither mode.
    await Deno.writeTextFile(`${dir}/k.pem`, (await generateKeys("ed25519")).privatePem);
    await Deno.writeTextFile(`${dir}/algo`, "x");
    for (const mode of [[], ["--compat"]]) {
      assert.notEqual((await run([...mode, "algo", "algo", "k.pem"])).exit, 0);
    }
    assert.deepEqual(agent.uploads, []);
  }, env);
});
