// The front door's TLS, probed by OpenSSL: what is not 1.3 with a strong suite and HTTP/2 shakes no
// hand, and nothing is taken before a handshake is over (threats G-17).
import assert from "node:assert/strict";
import { bytes, party } from "./_parties.ts";
import { Scene } from "./_scene.ts";
import { strictRun } from "./_strict.ts";

const owner = await party();

/** What `openssl s_client` says of one attempt. */
async function probe(port: number, flags: readonly string[], input = ""): Promise<string> {
  const child = new Deno.Command("openssl", {
    args: ["s_client", "-connect", `127.0.0.1:${port}`, ...flags],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input)).catch(() => {});
  await writer.close().catch(() => {});
  const { stdout, stderr } = await child.output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

const H2 = ["-alpn", "h2"];

/** Attempts that must fail: flags of s_client, none of which our clients use. */
const REFUSED: Record<string, string[]> = {
  "TLS 1.2": ["-tls1_2", ...H2],
  "TLS 1.1": ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0", ...H2],
  "TLS 1.0": ["-tls1", "-cipher", "ALL:@SECLEVEL=0", ...H2],
  "TLS 1.2 with legacy renegotiation": ["-tls1_2", "-legacy_renegotiation", ...H2],
  "CCM": ["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256", ...H2],
  "CCM with short tags": ["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_8_SHA256", ...H2],
  "a finite-field group": ["-tls1_3", "-groups", "ffdhe2048", ...H2],
  "SHA-1 signatures": ["-tls1_3", "-sigalgs", "ECDSA+SHA1", ...H2],
  "HTTP/1.1": ["-tls1_3", "-alpn", "http/1.1"],
};

/** The server's certificate is the last thing but one that it sends in a handshake. */
const DONE = /-----END CERTIFICATE-----/;

Deno.test("G-17 old versions, weak suites, groups and signatures, and other protocols shake no hand", async () => {
  await using scene = await Scene.start({ mode: "strict" });
  scene.server.manifest(strictRun(owner, bytes("#!/bin/sh\n"), [], { channel: "tls" }));
  await scene.server.until("runRes");
  const port = scene.agent.config.grantedPort;
  for (const suite of ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]) {
    const seen = await probe(port, ["-tls1_3", "-ciphersuites", suite, ...H2]);
    assert.match(seen, new RegExp(`New, TLSv1.3, Cipher is ${suite}`), seen);
    assert.match(seen, /ALPN protocol: h2/);
  }
  for (const [what, flags] of Object.entries(REFUSED)) {
    const seen = await probe(port, flags);
    assert.doesNotMatch(seen, DONE, what);
    assert.match(
      seen,
      /alert|error|no peer certificate|unsupported|no protocols/i,
      `${what}: ${seen}`,
    );
  }
});

Deno.test("G-17 early data is not taken, and a session that is taken up again has the same key", async () => {
  await using scene = await Scene.start({ mode: "strict" });
  scene.server.manifest(strictRun(owner, bytes("#!/bin/sh\n"), [], { channel: "tls" }));
  await scene.server.until("runRes");
  const port = scene.agent.config.grantedPort;
  const dir = await Deno.makeTempDir();
  try {
    const early = `${dir}/early`;
    await Deno.writeTextFile(early, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    const first = await probe(port, ["-tls1_3", "-sess_out", `${dir}/session`, ...H2]);
    assert.match(first, DONE);
    let kept = true;
    try {
      await Deno.stat(`${dir}/session`);
    } catch {
      kept = false;
    }
    // Without a session there is nothing early data could be sent with.
    const flags = kept ? ["-sess_in", `${dir}/session`, "-early_data", early] : [];
    const again = await probe(port, ["-tls1_3", ...flags, ...H2]);
    assert.doesNotMatch(again, /Early data was accepted/);
    assert.match(again, /Early data was (not sent|rejected)/);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
