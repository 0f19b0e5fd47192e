// A manifest as a party reads it: every member, every spelling, every difference.
import assert from "node:assert/strict";
import { generateKeys, readPublicKeyPem } from "../proto/mod.ts";
import { differences, parseAgreement, readAgreement } from "./agreement.ts";
import { agreementText } from "./agreement_text.ts";
import { ID, manifestOf } from "./_strict.ts";

const { publicPem } = await generateKeys("ed25519");
const second = await generateKeys("ecdsa");
const PROGRAM = { name: "algo.py", bytes: "print(1)\n" };
const TABLE = { name: "a.csv", bytes: "x,y\n" };
const agreement = await manifestOf(publicPem, PROGRAM, [TABLE]);
const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("readAgreement() takes exactly the canonical text, parseAgreement() any layout of it", () => {
  assert.equal(readAgreement(bytes(agreement.text)).digest, agreement.digest);
  const pretty = JSON.stringify(JSON.parse(agreement.text), null, 2);
  assert.deepEqual(parseAgreement(`${pretty}\n`), agreement);
  assert.throws(() => readAgreement(bytes(pretty)), /it is not in canonical form/);
  assert.throws(() => readAgreement(Uint8Array.of(0xff)), /it is not UTF-8/);
  assert.ok(Object.isFrozen(agreement.terms.datasets[0]));
});

Deno.test("parseAgreement() refuses every member that is missing, unknown or of another kind", () => {
  const fresh = () => JSON.parse(agreement.text);
  const walk = (value: unknown, path: (string | number)[]): (string | number)[][] =>
    typeof value !== "object" || value === null
      ? [path]
      : [path, ...Object.entries(value).flatMap(([key, each]) => walk(each, [...path, key]))];
  const at = (value: Record<string, unknown>, path: (string | number)[]) =>
    path.slice(0, -1).reduce((found, key) => found[key] as never, value);
  const paths = walk(fresh(), []).filter((path) => path.length > 0);
  assert.ok(paths.length > 30);
  for (const path of paths) {
    const last = path.at(-1) as string;
    const inList = Array.isArray(at(fresh(), path));
    const wrong: ((value: Record<string, unknown>) => void)[] = [
      (value) => at(value, path)[last] = null,
      (value) => at(value, path)[last] = -1,
      ...inList ? [] : [
        (value: Record<string, unknown>) => void delete at(value, path)[last],
        (value: Record<string, unknown>) => at(value, path)[`${last}2`] = "",
      ],
    ];
    for (const change of wrong) {
      const value = fresh();
      change(value);
      assert.throws(
        () => parseAgreement(JSON.stringify(value)),
        { code: "invalid-manifest" },
        path.join("."),
      );
    }
  }
  for (const id of ["1", ID.toUpperCase(), "../../etc/passwd", `${ID}\n`]) {
    assert.throws(
      () => parseAgreement(JSON.stringify({ ...fresh(), id })),
      /its id must be a UUID/,
    );
  }
});

Deno.test("M-7 a key has one spelling, and what is none is refused before anything is shown", () => {
  const { userKey } = agreement.terms.algorithm;
  // The last character's low bits are not part of the bytes.
  const padded = Uint8Array.fromBase64(userKey).slice(0, 43).toBase64();
  const twin = padded.replace(/.=$/, (last) => `${last === "A=" ? "B" : "/"}=`);
  for (const wrong of ["A".repeat(17), "A".repeat(15), `${userKey}=`, twin, ` ${userKey}`]) {
    const value = JSON.parse(agreement.text);
    value.algorithm.userKey = wrong;
    assert.throws(() => parseAgreement(JSON.stringify(value)), { code: "invalid-manifest" }, wrong);
  }
});

Deno.test("differences() names the members in which two manifests differ", () => {
  const { terms } = agreement;
  const changed = {
    ...terms,
    datasets: [{ ...terms.datasets[0]!, size: 5 }, terms.datasets[0]!],
    limits: { ...terms.limits, processes: 9 },
  };
  assert.deepEqual(differences(terms, terms), []);
  assert.deepEqual(differences(terms, changed), [
    "datasets[0].size",
    "datasets[1]",
    "limits.processes",
  ]);
  assert.equal(differences(terms, changed, 1).length, 1);
});

Deno.test("agreementText() says in plain words who gives what, who gets what, who sees what", async () => {
  const userKey = readPublicKeyPem(second.publicPem);
  const study = await manifestOf(publicPem, PROGRAM, [TABLE, { name: "b", bytes: "z" }], (m) => {
    m.name = "two hospitals";
    m.description = "one model from two tables";
    m.algorithm!.args = ["--epochs", "3 4"];
    m.algorithm!.runtime = "python3";
    m.datasets[1]!.userKey = userKey;
    m.datasets[1]!.decompress = true;
    m.resultConsumers = [{ ...m.resultConsumers[0]!, userKey }];
    m.limits = {
      $typeName: "cvms.Limits",
      wallSeconds: 3_725n,
      memoryBytes: 1_073_741_824n,
      processes: 0n,
      diskBytes: 0n,
      logBytes: 0n,
    };
    m.logReaders = ["consumers", "server"];
    m.egress = ["pypi.example:443"];
    m.channel = "tls";
  });
  const mine = Uint8Array.from(readPublicKeyPem(publicPem)).toBase64();
  const [algorithm, one, two] = [study.terms.algorithm, ...study.terms.datasets].map((each) =>
    each.hash
  );
  const text = agreementText(study, mine);
  assert.deepEqual(text.replaceAll(/sha256:[0-9a-f]{64}/g, "sha256:…").split("\n"), [
    "Computation",
    '  "two hospitals"',
    '  "one model from two tables"',
    `  id      ${ID}`,
    `  digest  ${study.digest}`,
    "What runs",
    "  a Python program of 9 bytes, given by party 1 (you)",
    `    sha3-256      ${algorithm}`,
    '    arguments     "--epochs" "3 4"',
    '    runtime       "python3"',
    "    requirements  none",
    "What it reads",
    '  "a.csv" of 4 bytes, given by party 1 (you)',
    `    sha3-256      ${one}`,
    '  "b" of 1 byte, given by party 2, unpacked from its archive',
    `    sha3-256      ${two}`,
    "Who gets the result",
    "  party 2",
    "Who sees what it prints",
    "  those who get the result",
    "  the management server",
    "What it may use at most",
    "  time      1 h 2 min 5 s",
    "  memory    1,073,741,824 bytes",
    "  processes, results, output: as much as the agent's own limits allow",
    "What it may reach",
    '  while its requirements are installed: "pypi.example:443"',
    "  while it runs: nothing",
    "How parties reach the agent",
    "  TLS with a key the agent makes itself; each party pins it",
    "Parties",
    "  party 1 (you): ed25519 key sha256:…",
    "  party 2: ecdsa key sha256:…",
  ]);
  const quiet = agreementText(agreement);
  assert.match(quiet, /What it may reach\n {2}nothing: it has no network/);
  assert.match(quiet, /Who sees what it prints\n {2}nobody/);
  assert.match(quiet, /INSECURE: without protection/);
});

Deno.test("S-5 agreementText() shows hostile texts whole, and none of them steers a terminal", async () => {
  const hostile = `\x1b[2J\u202e\r\nWhat runs\n  nothing${"x".repeat(5_000)}\u2066\x9b`;
  const study = await manifestOf(publicPem, PROGRAM, [TABLE], (message) => {
    message.name = hostile;
    message.description = hostile;
    message.algorithm!.args = [hostile];
    message.algorithm!.runtime = hostile;
    message.datasets[0]!.filename = hostile;
    message.egress = [hostile];
  });
  const text = agreementText(study);
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(text, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/);
  assert.equal(text.split("\n").filter((line) => line === "What runs").length, 1);
  assert.equal(text.match(/x{5000}/g)?.length, 6);
});
