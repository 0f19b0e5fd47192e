// What each command about evidence is granted: exactly the files it names and the servers its
// variables name; and real runs under those grants, in which everything used was granted.
import assert from "node:assert/strict";
import { builtInIntermediate, builtInRoot, encodePem } from "../../attestation/mod.ts";
import { cocos, fakeAgent, inFolder } from "../_fakes.ts";
import { parse } from "../program.ts";
import { rights } from "../rights.ts";
import { amd, FORGED, nobody, NOW, snpFiles, vendor } from "./_vendors.ts";

const of = (argv: string[], env: Record<string, string> = { HOME: "/h" }) =>
  rights(parse(argv), (name) => env[name], () => []);

Deno.test("rights() of commands about evidence name the files and servers of each", () => {
  const cache = "/h/.cocos/cache";
  const validate = ["attestation", "validate", "f"];
  const amd = "--allow-net=kdsintf.amd.com:443";
  const intel =
    "--allow-net=api.trustedservices.intel.com:443,certificates.trustedservices.intel.com:443";
  const agent = "--allow-net=localhost,127.0.0.1:7001,[::1]:7001";
  const cases: [string[], string[]][] = [
    [validate, [`--allow-read=f,${cache}`, `--allow-write=${cache}`, amd]],
    [[...validate, "--mode", "tdx", "--trusted_root", "a,b"], [
      `--allow-read=f,a,b,${cache}`,
      `--allow-write=${cache}`,
      intel,
    ]],
    [[...validate, "--mode", "vtpm", "--config", "c"], [
      `--allow-read=f,c,${cache}`,
      `--allow-write=${cache}`,
    ]],
    [[...validate, "--offline", "--bundle", "b"], [
      `--allow-read=f,${cache},b,b.part`,
      "--allow-write=b,b.part",
    ]],
    [["verify", "--offline", "b"], ["--allow-read=b"]],
    [["verify", "b", "--policy", "p", "--eat", "e"], [
      "--allow-read=b,p,e,e.part",
      "--allow-write=e,e.part",
    ]],
    [["attestation", "get", "snp", "--tee", "aa"], [
      "--allow-read=attestation.bin,attestation.bin.part",
      "--allow-write=attestation.bin,attestation.bin.part",
      agent,
    ]],
    [["ima-measurements"], [
      "--allow-read=ima_measurements,ima_measurements.part",
      "--allow-write=ima_measurements,ima_measurements.part",
      agent,
    ]],
    [["ima-measurements", "l", "--pcr10", "00"], ["--allow-read=l"]],
    [["policy", "measurement", "AA==", "p"], ["--allow-read=p,p.part", "--allow-write=p,p.part"]],
    [["policy", "extend", "p", "m", "n"], ["--allow-read=m,n,p,p.part", "--allow-write=p,p.part"]],
    [["policy", "lint", "p"], ["--allow-read=p"]],
    [["policy", "explain", "p"], ["--allow-read=p"]],
    [["policy", "diff", "p", "q"], ["--allow-read=p,q"]],
    [["policy", "import", "p"], ["--allow-read=p"]],
    [["policy", "gcp", "a", "2"], [
      "--allow-read=a,attestation_policy.json,attestation_policy.json.part",
      "--allow-write=attestation_policy.json,attestation_policy.json.part",
      "--allow-net=storage.googleapis.com:443",
    ]],
    [["policy", "download", "a"], [
      "--allow-read=a,ovmf.fd,ovmf.fd.part",
      "--allow-write=ovmf.fd,ovmf.fd.part",
      "--allow-net=storage.googleapis.com:443",
    ]],
    [["policy", "generate", "r", "--offline"], [`--allow-read=r,${cache}`]],
    [["igvmmeasure", "i"], ["--allow-read=i"]],
    [["sevsnpmeasure", "--mode", "snp", "--ovmf", "o", "--kernel", "k"], ["--allow-read=o,k"]],
    [["ca-bundle", "p"], [
      "--allow-read=p,/h/.cocos/Milan,/h/.cocos/Genoa,/h/.cocos/Turin",
      "--allow-write=/h/.cocos/Milan,/h/.cocos/Genoa,/h/.cocos/Turin",
      amd,
    ]],
  ];
  for (const [argv, flags] of cases) assert.deepEqual(of(argv), flags, argv.join(" "));
  const both = of([...validate, "--config", "c"]).at(-1);
  assert.equal(both, `${amd},${intel.slice("--allow-net=".length)}`);
});

Deno.test("rights() of commands about evidence follow the servers' variables, and refuse wrong ones", () => {
  const net = (COCOS_AMD_KDS_URL: string) =>
    of(["attestation", "validate", "f"], { HOME: "/h", COCOS_AMD_KDS_URL }).at(-1);
  assert.equal(net("http://127.0.0.1:81/x/"), "--allow-net=127.0.0.1:81");
  assert.equal(net("http://[::1]:81"), "--allow-net=[::1]:81");
  assert.equal(net("https://mirror.example"), "--allow-net=mirror.example:443");
  for (const bad of ["ftp://x", "https://u:p@x", "https://x/?a", "https://x/#a", "x", "https://"]) {
    assert.throws(() => net(bad), /COCOS_AMD_KDS_URL: must be an http/, bad);
  }
  for (const HOME of ["", "relative", "/a,/etc"]) {
    assert.throws(() => of(["attestation", "validate", "f"], { HOME }), /HOME is not set/);
  }
  assert.throws(() => of(["attestation", "validate", "a,/etc"]), /without comma/);
  assert.throws(() => of(["attestation", "validate", "f", "--CA_bundles_paths", "a,b"]), /comma/);
});

const HERE = new URL("../", import.meta.url).pathname;

const DENO_DIR = Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`;

/** Runs the CLI as its launcher does, and lists the permissions it asked for. */
async function launched(dir: string, argv: string[], env: Record<string, string>) {
  const flags = rights(parse(argv), (name) => env[name], () => []);
  const audit = `${dir}/audit`;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-P", "--quiet", "--no-prompt", "--cached-only", ...flags, `${HERE}main.ts`]
      .concat(argv),
    // HOME is the run's own; Deno's packages stay where they are.
    env: { ...env, DENO_DIR, DENO_AUDIT_PERMISSIONS: audit },
    cwd: dir,
  }).output();
  const lines = (await Deno.readTextFile(audit).catch(() => "")).trim().split("\n");
  await Deno.remove(audit).catch(() => {});
  const asked = lines.filter((line) => line !== "").map((line) => JSON.parse(line)) as {
    permission: string;
    value: string;
  }[];
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  return { code, text, flags, asked };
}

Deno.test("cocos judges evidence under exactly its rights", async () => {
  await using kds = amd();
  const pem = [builtInIntermediate("Milan", "vcek"), builtInRoot("Milan")]
    .map(({ raw }) => encodePem(raw, "CERTIFICATE")).join("");
  kds.answers.set("/vcek/v1/Milan/cert_chain", () => new Response(pem));
  await using agent = await fakeAgent({ evidence: () => [FORGED.report] });
  await inFolder(async (dir) => {
    const env = { HOME: dir, COCOS_AMD_KDS_URL: kds.url, AGENT_GRPC_URL: agent.url };
    const validate = await snpFiles(dir);
    const time = ["--time", new Date(NOW).toISOString()];
    await Deno.writeTextFile(
      `${dir}/p.json`,
      JSON.stringify({ policy: {}, root_of_trust: { product_line: "Milan" } }),
    );
    const runs = [
      [...validate, ...time, "--bundle", `${dir}/b.json`],
      ["verify", "--offline", `${dir}/b.json`],
      ["attestation", "get", "snp", "--tee", "aa"],
      ["policy", "measurement", new Uint8Array(48).toBase64(), `${dir}/p.json`],
      ["policy", "explain", `${dir}/p.json`],
      ["ca-bundle", `${dir}/p.json`],
      [
        "igvmmeasure",
        new URL("../../attestation/testdata/measure/synthetic-sorted.igvm", import.meta.url)
          .pathname,
      ],
    ];
    for (const argv of runs) {
      const { code, text, flags, asked } = await launched(dir, argv, env);
      assert.equal(code, 0, `${argv.join(" ")}: ${text}`);
      for (const kind of ["read", "write"]) {
        const prefix = `--allow-${kind}=`;
        const granted = (flags.find((flag) => flag.startsWith(prefix))?.slice(prefix.length) ?? "")
          .split(",").map((path) => path.startsWith("/") ? path : `${dir}/${path}`);
        const used = asked.filter(({ permission }) => permission === kind)
          .map(({ value }) => value.startsWith("/") ? value : `${dir}/${value}`)
          .filter((path) => !path.startsWith(HERE));
        for (const path of used) {
          assert.ok(
            granted.some((each) => path === each || path.startsWith(`${each}/`)),
            `${argv.join(" ")} asked to ${kind} ${path}`,
          );
        }
      }
      const net = flags.find((flag) => flag.startsWith("--allow-net="))?.slice(12).split(",") ?? [];
      for (const { permission, value } of asked) {
        const host = value.startsWith("http") ? new URL(value).host : value;
        if (permission === "net") assert.ok(net.includes(host), `${argv.join(" ")}: net ${value}`);
        assert.ok(!["run", "ffi", "import"].includes(permission), permission);
      }
    }
  });
});

Deno.test("cocos ca-bundle keeps AMD's certificates, and no others", async () => {
  const pem = (...ders: Uint8Array[]) => ders.map((der) => encodePem(der, "CERTIFICATE")).join("");
  const [ask, ark] = [builtInIntermediate("Milan", "vcek").raw, builtInRoot("Milan").raw];
  await using kds = vendor();
  await inFolder(async (dir) => {
    const options = { env: { HOME: dir, COCOS_AMD_KDS_URL: kds.url } };
    const file = `${dir}/.cocos/Milan/ask_ark.pem`;
    await Deno.writeTextFile(`${dir}/p.json`, '{"root_of_trust": {"product_line": "Milan"}}');
    const bundle = ["ca-bundle", `${dir}/p.json`];
    const answers: [string, number, RegExp][] = [
      [pem(ask, ark), 0, /^$/],
      [pem(FORGED.intermediate, FORGED.root), 5, /they are not AMD's for Milan/],
      [pem(ark, ask), 5, /they are not AMD's/],
      [pem(builtInIntermediate("Genoa", "vcek").raw, builtInRoot("Genoa").raw), 5, /not AMD's/],
      [pem(FORGED.intermediate, ark), 5, /not AMD's/],
      [pem(ask), 2, /two certificates are due/],
      ["", 2, /two certificates are due/],
    ];
    for (const [body, code, text] of answers) {
      kds.answers.set("/vcek/v1/Milan/cert_chain", () => new Response(body));
      const { exit, err } = await cocos(bundle, options);
      assert.equal(exit, code, err);
      assert.match(err, text);
      assert.equal(await Deno.readTextFile(file), pem(ask, ark));
    }
    const { mode } = await Deno.stat(file);
    assert.equal(mode! & 0o777, 0o644);
    await Deno.writeTextFile(`${dir}/p.json`, "{}");
    assert.match((await cocos(bundle, options)).err, /names no product line/);
    await Deno.writeTextFile(`${dir}/p.json`, '{"root_of_trust": {"product_line": "Genoa"}}');
    const down = await cocos(bundle, { env: { HOME: dir, COCOS_AMD_KDS_URL: nobody() } });
    assert.equal(down.exit, 1);
  });
});
