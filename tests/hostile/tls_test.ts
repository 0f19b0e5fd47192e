// G-17: weak and false TLS against the front door's listener, with OpenSSL's own client as the peer that
// means harm. A case counts as answered when the server speaks HTTP/2 to it.
import assert from "node:assert/strict";
import { type Certificate, makeCertificate } from "../../channel/mod.ts";
import { implement, ManagerService, serve, type TlsServer } from "../../proto/mod.ts";

/** The start of an HTTP/2 connection (RFC 9113 §3.4): preface and an empty SETTINGS frame. */
const HELLO = new Uint8Array([
  ...new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  ...[0, 0, 0, 4, 0, 0, 0, 0, 0],
]);

/** First bytes of the server's answer: a SETTINGS frame on stream 0 (RFC 9113 §6.5). */
const SETTINGS = 4;

const service = implement(ManagerService, {
  createVm: () => Promise.resolve({}),
  removeVm: () => Promise.resolve({}),
  cVMInfo: (request) => Promise.resolve({ id: request.id }),
  attestationPolicy: () => Promise.resolve({}),
});

async function start(tls: TlsServer) {
  return await serve({ host: "127.0.0.1", port: 0, services: [service], tls });
}

/** How `openssl s_client` fared. */
interface Met {
  /** Whether the server answered with HTTP/2. */
  readonly answered: boolean;
  /** What OpenSSL said. */
  readonly said: string;
}

/** One connection of OpenSSL's client; it ends when the server answers or closes. */
async function meet(port: number, args: readonly string[]): Promise<Met> {
  const child = new Deno.Command("openssl", {
    args: ["s_client", "-connect", `127.0.0.1:${port}`, "-quiet", ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const said = new Response(child.stderr).text();
  const writer = child.stdin.getWriter();
  const sent = writer.write(HELLO).catch(() => {});
  const reader = child.stdout.getReader();
  const first = await reader.read();
  // Closing what it reads from makes it end by itself in either case.
  await sent;
  await writer.close().catch(() => {});
  if (first.value !== undefined) {
    try {
      child.kill("SIGTERM");
    } catch {
      // It has ended.
    }
  }
  await reader.cancel();
  await child.status;
  return { answered: first.value?.[3] === SETTINGS, said: await said };
}

/** Writes certificates where OpenSSL reads them. */
async function files(folder: string, name: string, { cert, key }: Certificate) {
  await Deno.writeTextFile(`${folder}/${name}.pem`, cert);
  await Deno.writeTextFile(`${folder}/${name}.key`, key);
  return ["-cert", `${folder}/${name}.pem`, "-key", `${folder}/${name}.key`];
}

const H2 = ["-alpn", "h2"];
const ANY = ["-cipher", "ALL:@SECLEVEL=0"];

Deno.test("G-17 old versions, weak suites and other protocols are refused in the handshake", async (t) => {
  const own = await makeCertificate({ commonName: "door", names: ["127.0.0.1"] });
  await using server = await start(own);
  const cases: [string, string[], boolean][] = [
    ["TLS 1.3", ["-tls1_3", ...H2], true],
    ["TLS 1.2", ["-tls1_2", ...H2], false],
    ["TLS 1.2 with every cipher", ["-tls1_2", ...ANY, ...H2], false],
    ["TLS 1.1", ["-tls1_1", ...ANY, ...H2], false],
    ["TLS 1.0", ["-tls1", ...ANY, ...H2], false],
    ["a connection that may be renegotiated", ["-tls1_2", "-legacy_renegotiation", ...H2], false],
    ["a suite with a short tag", ["-ciphersuites", "TLS_AES_128_CCM_8_SHA256", ...H2], false],
    ["signatures with SHA-1", ["-tls1_3", "-sigalgs", "ECDSA+SHA1", ...H2], false],
    ["a protocol that is not HTTP/2", ["-tls1_3", "-alpn", "http/1.1"], false],
  ];
  for (const [name, args, answered] of cases) {
    await t.step(name, async () => {
      const met = await meet(server.port, args);
      assert.equal(met.answered, answered, met.said);
    });
  }
});

Deno.test("G-17 client certificates that are old, early, strange or self-made are refused", async (t) => {
  const folder = await Deno.makeTempDir({ dir: new URL("../../.cache", import.meta.url).pathname });
  try {
    const ca = await makeCertificate({ commonName: "authority" });
    // The right name with another key: what an attacker who only knows the name can make.
    const twin = await makeCertificate({ commonName: "authority" });
    const own = await makeCertificate({ commonName: "door", names: ["127.0.0.1"], issuer: ca });
    await using server = await start({ ...own, clientCa: ca.cert });
    const day = 86_400_000;
    const at = (days: number) => new Date(Date.now() + days * day);
    const client = (options: Partial<Parameters<typeof makeCertificate>[0]>) =>
      makeCertificate({ commonName: "party", issuer: ca, ...options });
    const party = await client({});
    const cases: [string, Certificate | undefined, boolean][] = [
      ["a party's", party, true],
      ["none", undefined, false],
      ["one that has expired", await client({ notBefore: at(-10), notAfter: at(-1) }), false],
      ["one that is not valid yet", await client({ notBefore: at(1), notAfter: at(10) }), false],
      ["one of an authority of the same name", await client({ issuer: twin }), false],
      ["a self-made one", await makeCertificate({ commonName: "party" }), false],
      ["one that a party signed", await client({ issuer: party }), false],
    ];
    for (const [name, certificate, answered] of cases) {
      await t.step(name, async () => {
        const args = certificate === undefined ? [] : await files(folder, "client", certificate);
        const met = await meet(server.port, ["-tls1_3", ...H2, ...args]);
        assert.equal(met.answered, answered, met.said);
      });
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("G-17 data sent before the handshake is over is not taken", async () => {
  const folder = await Deno.makeTempDir({ dir: new URL("../../.cache", import.meta.url).pathname });
  try {
    const own = await makeCertificate({ commonName: "door", names: ["127.0.0.1"] });
    await using server = await start(own);
    const session = `${folder}/session`;
    const first = await meet(server.port, ["-tls1_3", ...H2, "-sess_out", session]);
    assert.ok(first.answered, first.said);
    await Deno.writeFile(`${folder}/early`, HELLO);
    const resumed = await exists(session)
      ? ["-sess_in", session, "-early_data", `${folder}/early`]
      : [];
    const { stdout } = await new Deno.Command("openssl", {
      args: ["s_client", "-connect", `127.0.0.1:${server.port}`, "-tls1_3", ...H2, ...resumed],
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).output();
    const text = new TextDecoder().decode(stdout);
    assert.match(text, /Early data was (not sent|rejected)/);
    assert.doesNotMatch(text, /Early data was accepted/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

async function exists(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).size > 0;
  } catch {
    return false;
  }
}
