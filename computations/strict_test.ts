// What the parties agree on: everything that changes a run is in the manifest, from a file or from
// the seed's flags, and what a strict agent would refuse is refused here.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { type Computation, parsePlan, resolve } from "../agreement/mod.ts";
import { digestOf, hex, listWheelhouse, zipDirectory, zipEntries } from "../base/mod.ts";
import { agreementDigest, canonicalManifest, cvms } from "../proto/mod.ts";
import { inFolder, KEYS } from "./_testbed.ts";
import { readInvocation, readPlan } from "./config.ts";

const HELLO = "b314e28493eae9dab57ac4f0c6d887bddbbeb810e900d818395ace558e96516d";
const ID = "7d444840-9dc0-81d1-b245-5ffdce74fad2";

const sha3 = (content: string | Uint8Array) => createHash("sha3-256").update(content).digest("hex");

/** The canonical manifest as a value, without what every test would have to repeat. */
function agreed({ agreement }: Computation): Record<string, unknown> {
  assert.ok(agreement !== undefined);
  return JSON.parse(agreement.text);
}

async function fromFile(dir: string, value: Record<string, unknown>): Promise<Computation> {
  return await resolve(parsePlan(
    JSON.stringify({
      algorithm: { file: "algo.py", key: "pub.pem" },
      consumers: ["pub.pem"],
      ...value,
    }),
    `${dir}/`,
  ));
}

async function fromFlags(dir: string, ...flags: string[]): Promise<Computation> {
  const argv = ["cvms", "-algo-path", `${dir}/algo.py`, "-public-key-path", `${dir}/pub.pem`];
  const invocation = readInvocation([...argv, ...flags], () => undefined);
  assert.ok(invocation.command === "serve");
  return await resolve(await readPlan(invocation.origin));
}

Deno.test("resolve() puts everything of a computation file that changes a run into the manifest", async () => {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/requirements.txt`, "pandas\n");
    const computation = await fromFile(dir, {
      id: ID,
      name: "Study",
      algorithm: {
        file: "algo.py",
        key: "pub.pem",
        args: ["--epochs", "3 4"],
        runtime: "python3",
        requirements: "requirements.txt",
      },
      datasets: [
        { file: "a.csv", key: "pub.pem" },
        { file: "d", filename: "ward", key: "pub.pem" },
        { file: "d", filename: "ward.zip", key: "pub.pem", decompress: false },
        { hash: HELLO, size: 6, filename: "b.csv", key: "pub.pem" },
      ],
      limits: {
        wall_seconds: 60,
        memory_bytes: 2 ** 30,
        processes: 8,
        disk_bytes: 9,
        log_bytes: 10,
      },
      log_readers: ["consumers"],
      egress: ["pypi.example:443"],
    });
    const archive = await new Response(ReadableStream.from(zipDirectory(`${dir}/d`))).bytes();
    const ward = { hash: sha3(archive), size: archive.length };
    const userKey = KEYS.publicPem.split("\n").filter((line) => !line.startsWith("-")).join("");
    const manifest = agreed(computation);
    assert.deepEqual(manifest, {
      version: 1,
      id: ID,
      name: "Study",
      description: "",
      algorithm: {
        hash: sha3("print(1)\n"),
        userKey,
        type: "python",
        args: ["--epochs", "3 4"],
        runtime: "python3",
        requirementsHash: sha3("pandas\n"),
        size: 9,
      },
      datasets: [
        { hash: HELLO, userKey, filename: "a.csv", size: 6, decompress: false },
        { ...ward, userKey, filename: "ward", decompress: true },
        { ...ward, userKey, filename: "ward.zip", decompress: false },
        { hash: HELLO, userKey, filename: "b.csv", size: 6, decompress: false },
      ],
      resultConsumers: [{ userKey }],
      agentConfig: { port: "7002", attestedTls: false },
      limits: {
        wallSeconds: 60,
        memoryBytes: 2 ** 30,
        processes: 8,
        diskBytes: 9,
        logBytes: 10,
      },
      logReaders: ["consumers"],
      egress: ["pypi.example:443"],
      channel: "tls",
    });
    // The text is the one an agent makes of the bytes it gets.
    const message = fromBinary(cvms.ComputationRunReqSchema, computation.manifest);
    assert.equal(computation.agreement?.text, canonicalManifest(message));
    assert.equal(computation.agreement?.digest, hex(agreementDigest(message)));
  });
});

Deno.test("resolve() of the seed's flags is a strict manifest: kind told, directory unpacked, channel insecure", async () => {
  await inFolder(async (dir) => {
    const plain = ["-attested-tls-bool", "false"];
    const computation = await fromFlags(dir, ...plain, "-data-paths", `${dir}/a.csv,${dir}/d/`);
    const { algorithm, datasets, channel, id, logReaders, egress, limits } = agreed(
      computation,
    ) as {
      algorithm: Record<string, unknown>;
      datasets: Record<string, unknown>[];
      [name: string]: unknown;
    };
    assert.deepEqual([algorithm.type, algorithm.size, algorithm.args], ["python", 9, []]);
    assert.deepEqual(datasets.map((each) => [each.filename, each.decompress]), [
      ["a.csv", false],
      ["d", true],
    ]);
    assert.deepEqual([channel, logReaders, egress], ["insecure", [], []]);
    assert.deepEqual(new Set(Object.values(limits as object)), new Set([0]));
    assert.equal(id, computation.id);

    const more = agreed(
      await fromFlags(
        dir,
        ...plain,
        ...["-algo-type", "bin", "-algo-args", "-v", "--algo-args=a b", "-id", ID],
        ...["-channel", "tls", "-log-readers", "server,consumers", "-wall-seconds", "7"],
        ...["-memory-bytes", "33554432", "-processes", "4", "-disk-bytes", "5", "-log-bytes", "6"],
      ),
    ) as Record<string, unknown>;
    const { type, args } = more.algorithm as Record<string, unknown>;
    assert.deepEqual([type, args, more.id, more.channel], ["bin", ["-v", "a b"], ID, "tls"]);
    assert.deepEqual(more.logReaders, ["server", "consumers"]);
    assert.deepEqual(more.limits, {
      wallSeconds: 7,
      memoryBytes: 33554432,
      processes: 4,
      diskBytes: 5,
      logBytes: 6,
    });
    const attested = agreed(await fromFlags(dir, "-attested-tls-bool", "true"));
    assert.deepEqual(attested.channel, "attested");
    const mutual = agreed(await fromFlags(dir, ...plain, "-client-ca-file", "/ca.pem"));
    assert.deepEqual(mutual.channel, "tls");
  });
});

Deno.test("resolve() has the digest of requirements, of a wheelhouse, or the one that is given", async () => {
  await inFolder(async (dir) => {
    await Deno.mkdir(`${dir}/wheels`);
    await Deno.writeTextFile(`${dir}/wheels/requirements.txt`, "a\n");
    await Deno.writeTextFile(`${dir}/wheels/a-1-py3-none-any.whl`, "wheel");
    const archive = hex(await digestOf(zipEntries(await listWheelhouse(`${dir}/wheels`))));
    const hashOf = (computation: Computation) =>
      (agreed(computation).algorithm as { requirementsHash: string }).requirementsHash;
    const given = (requirements: unknown) =>
      fromFile(dir, { algorithm: { file: "algo.py", key: "pub.pem", requirements } });
    assert.equal(hashOf(await given({ wheelhouse: "wheels" })), archive);
    assert.equal(hashOf(await given({ hash: archive })), archive);
    assert.equal(hashOf(await given("a.csv")), HELLO);
    const flags = ["-attested-tls-bool", "0"];
    assert.equal(hashOf(await fromFlags(dir, ...flags, "-wheelhouse", `${dir}/wheels`)), archive);
    assert.equal(hashOf(await fromFlags(dir, ...flags, "-requirements", `${dir}/a.csv`)), HELLO);
    await assert.rejects(
      given({ wheelhouse: "wheels", hash: HELLO }),
      /algorithm\.requirements: .*wheels has the digest/,
    );
  });
});

Deno.test("M-4 M-6 resolve() refuses what a strict agent would refuse, each by its field", async () => {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/empty.csv`, "");
    await Deno.writeTextFile(`${dir}/text.wasm`, "?");
    const at = (file: string, filename?: string) => ({ file, filename, key: "pub.pem" });
    const program = (more: object) => ({ algorithm: { ...at("algo.py"), ...more } });
    const cases: [Record<string, unknown>, RegExp][] = [
      [{ id: "study-1" }, /id: must be a UUID in lower case/],
      [{ id: ID.toUpperCase() }, /id: must be a UUID in lower case/],
      [
        { datasets: [at("a.csv"), at("algo.py", "A.csv")] },
        /"A\.csv" is the name of datasets\[0\]/,
      ],
      [{ datasets: [at("a.csv", "ä.csv")] }, /"ä\.csv" must be a plain file name/],
      [{ datasets: [at("a.csv", ".hidden")] }, /must be a plain file name/],
      [{ datasets: [at("a.csv", "a\\b")] }, /must be a plain file name/],
      [{ datasets: [{ hash: HELLO, key: "pub.pem" }] }, /filename: is required/],
      [{ datasets: [{ hash: HELLO, key: "pub.pem", filename: "b" }] }, /\]\.size: is required/],
      [{ datasets: [{ ...at("a.csv"), size: 7 }] }, /has 6 bytes, not 7/],
      [{ datasets: [at("empty.csv")] }, /empty\.csv is empty/],
      [{ consumers: ["pub.pem", "pub.pem"] }, /consumers\[1\]: is the key of consumers\[0\]/],
      [{ algorithm: { hash: HELLO, size: 6, key: "pub.pem" } }, /algorithm\.type: is required/],
      [{ algorithm: at("text.wasm") }, /algorithm\.type: .* begins like bin/],
      [program({ type: "bin", requirements: "a.csv" }), /requirements: are Python's, not bin's/],
      [program({ type: "bin", runtime: "python3" }), /runtime: is Python's, not bin's/],
      [program({ runtime: "/bin/sh" }), /runtime: must be python3 or pyodide/],
      [program({ type: "exe" }), /type: must be one of bin, python, wasm, docker/],
      [program({ args: ["a\0b"] }), /args\[0\]: must be text without NUL/],
      [{ channel: "attested" }, /channel: must be attested exactly when/],
      [{ agent: { attested_tls: true }, channel: "tls" }, /channel: must be attested exactly when/],
      [{ channel: "plain" }, /channel: must be one of attested, tls, insecure/],
      [{ log_readers: ["everybody"] }, /log_readers\[0\]: must be one of/],
      [{ log_readers: ["server", "server"] }, /must not have a word twice/],
      [{ egress: ["https://pypi.example"] }, /egress\[0\]: must be host:port/],
      [{ limits: { wall_seconds: 0 } }, /limits\.wall_seconds: must be a whole number from 1/],
      [{ limits: { memory_bytes: 1.5 } }, /limits\.memory_bytes: must be a whole number/],
      [{ limits: { cpus: 2 } }, /limits\.cpus: is not known/],
    ];
    for (const [value, message] of cases) {
      await assert.rejects(fromFile(dir, value), message, JSON.stringify(value));
    }
  });
});

Deno.test("resolve() in compat refuses what it would have to drop", async () => {
  await inFolder(async (dir) => {
    const plan = parsePlan(
      JSON.stringify({
        algorithm: { file: "algo.py", key: "pub.pem", args: ["x"], requirements: "a.csv" },
        consumers: ["pub.pem"],
        limits: { processes: 9 },
        log_readers: ["server"],
        egress: ["a:1"],
      }),
      `${dir}/`,
    );
    await assert.rejects(
      resolve(plan, { compat: true }),
      /5 mistake\(s\):[^]*algorithm\.args: a compat/,
    );
    await resolve(plan);
  });
});

Deno.test("readInvocation() names every wrong flag of cvms at once", () => {
  const argv = ["cvms", "-algo-path", "a", "-public-key-path", "k", "-attested-tls-bool", "f"];
  const wrong = ["-algo-type", "exe", "-channel", "x", "-log-readers", "me", "-egress", "http://a"]
    .concat("-wall-seconds", "soon", "-processes", "1", "-manifest-out", "a,b", "-data-paths", "a");
  assert.throws(
    () => readInvocation([...argv, ...wrong], () => undefined),
    (error: Error) => {
      const names = error.message.split("\n").map((line) => line.split(":")[0]);
      assert.deepEqual(names, [
        "-algo-type",
        "-log-readers",
        "-egress",
        "-channel",
        "-wall-seconds",
        "-processes",
        'must be a path without comma, is "a,b"',
      ]);
      return true;
    },
  );
  assert.throws(
    () => readInvocation([...argv, "-compat", "-print-manifest"], () => undefined),
    /A compat manifest has no canonical form/,
  );
});
