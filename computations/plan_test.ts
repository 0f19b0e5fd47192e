// Computation files and the seed's flags: what they mean, and every mistake named at once.
import assert from "node:assert/strict";
import { fromBinary } from "@bufbuild/protobuf";
import { filesOf, parsePlan, resolve } from "../agreement/mod.ts";
import { digestOf, hex, zipDirectory } from "../base/mod.ts";
import { cvms, readPublicKeyPem } from "../proto/mod.ts";
import { inFolder, KEYS } from "./_testbed.ts";
import { readInvocation, readPlan } from "./config.ts";

/** A UUID of version 8 (RFC 9562 §5.8). */
const UUID_8 = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

const HELLO = "b314e28493eae9dab57ac4f0c6d887bddbbeb810e900d818395ace558e96516d";

Deno.test("resolve() in compat makes the manifest the Go programs know of a computation file", async () => {
  await inFolder(async (dir) => {
    const json = JSON.stringify({
      id: "study-1",
      name: "Study",
      description: "of two hospitals",
      algorithm: { file: "algo.py", key: "pub.pem" },
      datasets: [
        { file: "a.csv", key: "pub.pem" },
        { file: "d/", filename: "ward", key: `${dir}/pub.pem`, hash: undefined },
        { hash: HELLO.toUpperCase(), key: "pub.pem" },
      ],
      consumers: ["pub.pem"],
      agent: { port: 7010, cert_file: "cvm:/etc/certs/cert.pem", server_ca_file: "pub.pem" },
    });
    const plan = parsePlan(json, `${dir}/`);
    assert.deepEqual(filesOf(plan).sort(), [
      `${dir}/a.csv`,
      `${dir}/algo.py`,
      `${dir}/d/`,
      `${dir}/pub.pem`,
    ]);
    const computation = await resolve(plan, { compat: true });
    const manifest = fromBinary(cvms.ComputationRunReqSchema, computation.manifest);
    // Nothing from number 100 on: these are the bytes of a Go server.
    const { limits, logReaders, egress, channel } = manifest;
    assert.deepEqual([limits, logReaders, egress, channel], [undefined, [], [], ""]);
    const { type, args, size } = manifest.algorithm!;
    assert.deepEqual([type, args, size], ["", [], 0n]);
    assert.ok(manifest.datasets.every((each) => each.size === 0n && !each.decompress));
    assert.equal(computation.agreement, undefined);
    const userKey = readPublicKeyPem(KEYS.publicPem);
    assert.deepEqual([manifest.id, manifest.name, manifest.description], [
      "study-1",
      "Study",
      "of two hospitals",
    ]);
    const shown = manifest.datasets.map(({ hash, filename, userKey }) => [
      hex(hash),
      filename,
      hex(userKey),
    ]);
    assert.deepEqual(shown, [
      [HELLO, "a.csv", hex(userKey)],
      [hex(await digestOf(zipDirectory(`${dir}/d`))), "ward", hex(userKey)],
      [HELLO, "", hex(userKey)],
    ]);
    assert.equal(hex(manifest.algorithm!.userKey), hex(userKey));
    assert.equal(manifest.resultConsumers.length, 1);
    const { $typeName: _, $unknown: __, ...agentConfig } = manifest.agentConfig!;
    assert.deepEqual(agentConfig, {
      port: "7010",
      certFile: "/etc/certs/cert.pem",
      keyFile: "",
      clientCaFile: "",
      serverCaFile: KEYS.publicPem,
      logLevel: "",
      attestedTls: false,
    });
  });
});

Deno.test("resolve() gives a computation without id one that follows from its content", async () => {
  await inFolder(async (dir) => {
    const make = (name: string, compat: boolean) =>
      resolve(
        parsePlan(
          JSON.stringify({
            name,
            algorithm: { file: "algo.py", key: "pub.pem" },
            consumers: ["pub.pem"],
          }),
          `${dir}/`,
        ),
        { compat },
      );
    for (const [compat, form] of [[true, /^c-[0-9a-f]{16}$/], [false, UUID_8]] as const) {
      const [a, again, b] = [
        await make("a", compat),
        await make("a", compat),
        await make("b", compat),
      ];
      assert.match(a.id, form);
      assert.equal(a.id, again.id);
      assert.notEqual(a.id, b.id);
    }
  });
});

Deno.test("readPlan() of the seed's flags with -compat is the Go test server's computation", async () => {
  await inFolder(async (dir) => {
    for (const dash of ["-", "--"]) {
      const invocation = readInvocation([
        "cvms",
        `${dash}algo-path`,
        `${dir}/algo.py`,
        `${dash}public-key-path=${dir}/pub.pem`,
        `${dash}attested-tls-bool`,
        "T",
        `${dash}data-paths`,
        `${dir}/a.csv,${dir}/d/`,
        `${dash}client-ca-file`,
        "/etc/certs/client-ca.pem",
        `${dash}ca-url`,
        "http://ca",
        `${dash}cvm-id`,
        "1",
        `${dash}cmv-id`,
        "2",
        `${dash}compat`,
      ], () => undefined);
      assert.ok(invocation.command === "serve");
      const { settings } = invocation;
      assert.deepEqual([settings.host, settings.port], ["localhost", 7001]);
      const computation = await resolve(await readPlan(invocation.origin), invocation);
      const manifest = fromBinary(cvms.ComputationRunReqSchema, computation.manifest);
      assert.deepEqual(
        [manifest.id, manifest.name, manifest.description, manifest.agentConfig?.port],
        ["1", "sample computation", "sample descrption", "7002"],
      );
      assert.deepEqual(manifest.datasets.map(({ filename }) => filename), ["a.csv", "d"]);
      assert.equal(hex(manifest.datasets[0]!.hash), HELLO);
      assert.equal(manifest.agentConfig?.attestedTls, true);
      assert.equal(manifest.agentConfig?.clientCaFile, "/etc/certs/client-ca.pem");
    }
  });
});

Deno.test("readInvocation() names all of the seed's usage mistakes at once", () => {
  assert.throws(() => readInvocation(["cvms"], () => undefined), {
    message: "Algorithm path is required\nPublic key path is required\n" +
      "Attested TLS flag is required and it must be a boolean value",
  });
  assert.throws(
    () =>
      readInvocation(
        ["cvms", "-algo-path", "a", "-public-key-path", "k", "-attested-tls-bool", "maybe"],
        (name) => ({ PORT: "99999", HOST: "a b", SERVER_KEY: "k" })[name],
      ),
    (error: Error) => {
      assert.match(error.message, /PORT: must be a whole number/);
      assert.match(error.message, /HOST: must be a host name or address/);
      assert.match(error.message, /Attested TLS flag is required/);
      return true;
    },
  );
  const cases: [string[], RegExp][] = [
    [
      ["cvms", "-nope", "3", "-algo-path"],
      /not defined: -nope\nflag needs an argument: -algo-path/,
    ],
    [["cvms", "stray"], /unexpected argument "stray"/],
    [[], /A computation is required: --file/],
    [["--file"], /flag needs an argument: -file/],
    [["--plain=1"], /flag takes no value: -plain/],
    [["--file", "a,b"], /without comma/],
    [["--constructor"], /not defined: -constructor/],
  ];
  for (const [argv, message] of cases) {
    assert.throws(() => readInvocation(argv, () => undefined), message);
  }
});

Deno.test("readInvocation() reads bare variables for cvms, prefixed ones otherwise", () => {
  const env = (name: string) => ({ HOST: "192.0.2.1", PORT: "1", COMPUTATIONS_PORT: "2" })[name];
  const flags = ["-algo-path", "a", "-public-key-path", "k", "-attested-tls-bool", "0"];
  const settings = (argv: string[]) => {
    const invocation = readInvocation(argv, env);
    assert.ok(invocation.command === "serve");
    return [invocation.settings.host, invocation.settings.port];
  };
  assert.deepEqual(settings(["cvms", ...flags]), ["192.0.2.1", 1]);
  assert.deepEqual(settings(["--file", "f"]), ["localhost", 2]);
  assert.deepEqual(settings(["--file", "f", "--port", "3", "--host", "::1"]), ["::1", 3]);
  for (const word of ["-h", "--help", "-help"]) {
    assert.equal(readInvocation([word], env).command, "help");
  }
  assert.equal(readInvocation(["cvms", "-h"], env).command, "help");
  assert.equal(readInvocation(["--version"], env).command, "version");
  const half = (name: string) => ({ SERVER_CERT: "c" })[name];
  assert.throws(() => readInvocation(["cvms", ...flags], half), /set both or neither/);
  const ca = (name: string) => ({ CLIENT_CA_CERTS: "c" })[name];
  assert.throws(() => readInvocation(["cvms", ...flags], ca), /needs SERVER_CERT/);
});

Deno.test("parsePlan() names every field that is wrong", () => {
  assert.throws(
    () =>
      parsePlan(
        JSON.stringify({
          id: 3,
          algorithm: { file: "a,b" },
          datasets: [{ hash: "00", key: "k", name: "x" }, 7],
          agent: { port: 70000, attested_tls: "no" },
          extra: 1,
        }),
        "",
      ),
    {
      message: [
        "The computation has 12 mistake(s):",
        "extra: is not known; known are id, name, description, algorithm, datasets, consumers, agent, " +
        "limits, log_readers, egress, channel",
        "id: must be text",
        "datasets[0].name: is not known; known are file, hash, size, key, filename, decompress",
        "datasets[0].hash: must be a SHA3-256 digest of 64 hexadecimal digits",
        "datasets[1]: must be an object",
        "datasets[1]: needs a file or a hash",
        "datasets[1].key: is required",
        "consumers: needs at least one public key file",
        "agent.port: must be a port from 1 to 65535",
        "agent.attested_tls: must be true or false",
        "algorithm.file: must be a path without comma",
        "algorithm.key: is required",
      ].join("\n  "),
    },
  );
  assert.throws(() => parsePlan("{", ""), /is not JSON/);
  assert.throws(() => parsePlan("[]", ""), /computation: must be an object/);
});

Deno.test("resolve() names every missing file, bad key, wrong digest and bad name", async () => {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/private.pem`, KEYS.privatePem);
    const plan = parsePlan(
      JSON.stringify({
        algorithm: { file: "none.py", key: "none.pem" },
        datasets: [
          { file: "a.csv", hash: "00".repeat(32), key: "private.pem" },
          { file: "a.csv", key: "pub.pem" },
          { file: "algo.py", filename: "../x", key: "pub.pem" },
        ],
        consumers: ["algo.py"],
        agent: { key_file: "algo.py" },
      }),
      `${dir}/`,
    );
    await assert.rejects(resolve(plan), (error: Error) => {
      const lines = error.message.split("\n  ");
      assert.equal(lines[0], "Cannot make the manifest: 8 mistake(s):");
      for (
        const [i, pattern] of [
          /^algorithm: no such file/,
          /^algorithm\.key: no such file/,
          /^datasets\[0\]: .*a\.csv has the digest b314.*, not 0000/,
          /^datasets\[0\]\.key: .*private\.pem: error decoding key: label "PRIVATE KEY"/,
          /^consumers\[0\]: .*algo\.py: error decoding key/,
          /^agent\.key_file: .*algo\.py is not a PEM file/,
          /^datasets\[1\]\.filename: "a\.csv" is the name of datasets\[0\] already/,
          /^datasets\[2\]\.filename: "\.\.\/x" must be a plain file name/,
        ].entries()
      ) assert.match(lines[i + 1] ?? "", pattern);
      return true;
    });
  });
});
