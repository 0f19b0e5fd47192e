// A server that shows an agent's certificate without having its key.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { generateKeyPairSync } from "node:crypto";
import type net from "node:net";
import tls from "node:tls";
import type { CocosError } from "../base/mod.ts";
import { type Certificate, makeCertificate, makeOwnCertificate } from "../channel/mod.ts";
import { checkSigned, keyOfOwn } from "./_server_certificate.ts";
import { type ClientSecurity, connectTo, PartyService } from "./mod.ts";

const derOf = ({ cert }: { cert: string }) =>
  Buffer.from(cert.replace(/-----[^-]+-----|\n/g, ""), "base64");

/** An agent's certificate as version 1 of X.509, which Deno's TLS library does not read. */
function spoilt(own: Certificate): Buffer {
  const der = derOf(own);
  der[der.indexOf(Buffer.of(0xa0, 3, 2, 1, 2)) + 4] = 0;
  return der;
}

Deno.test("M-9 G-18 whoever shows an agent's certificate without its key is refused, however it is spoilt", async () => {
  const own = await makeOwnCertificate();
  assert.equal(keyOfOwn(derOf(own)), own.pin);
  const whole = derOf(own);
  // Every bit of the certificate, one by one.
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const der = Buffer.from(whole);
    der[bit >> 3] = (der[bit >> 3] as number) ^ (1 << (bit & 7));
    assert.throws(() => keyOfOwn(der), { code: "untrusted" }, `bit ${bit}`);
  }
  for (const der of [Buffer.concat([whole, Buffer.of(0)]), whole.subarray(0, -1), Buffer.of()]) {
    assert.throws(() => keyOfOwn(der), { code: "untrusted" });
  }
  const authority = await makeCertificate({ commonName: "authority" });
  const signed = await makeCertificate({ commonName: "agent", issuer: authority });
  assert.throws(() => keyOfOwn(derOf(signed)), { code: "untrusted", message: /its own key/ });
});

/** Runs a TLS server that shows a certificate and has another key. */
async function impostor(cert: Uint8Array, use: (port: number) => Promise<void>): Promise<void> {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const text = Buffer.from(cert).toString("base64");
  const server = tls.createServer({
    cert: `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ format: "pem", type: "pkcs8" }),
    minVersion: "TLSv1.3",
    ALPNProtocols: ["h2"],
  });
  const sockets = new Set<net.Socket>();
  server.on("connection", (socket: net.Socket) => {
    sockets.add(socket.on("error", () => {}));
  });
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  await use((server.address() as net.AddressInfo).port);
  for (const socket of sockets) socket.destroy();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

/** What a call to a server ends with. */
async function callTo(port: number, security: ClientSecurity): Promise<CocosError> {
  await using at = connectTo({ party: PartyService }, {
    target: { host: "127.0.0.1", port },
    security,
  });
  return await at.party.manifest({}, { timeoutMs: 10_000 }).then(
    () => assert.fail("it was answered"),
    (error) => error as CocosError,
  );
}

Deno.test("M-9 G-18 a handshake whose proof Deno leaves out reaches no pinned client", async () => {
  const own = await makeOwnCertificate();
  await impostor(spoilt(own), async (port) => {
    const shown: string[] = [];
    const check = (key: string) => void shown.push(key);
    assert.equal((await callTo(port, { kind: "pinned", check })).code, "untrusted");
    // Nothing was pinned: the key of the certificate is another's.
    assert.deepEqual(shown, []);
  });
});

Deno.test("G-17 H-3 a certificate Deno can't read is no authority's word, whoever made it", async () => {
  const authority = await makeCertificate({ commonName: "authority" });
  const stranger = await makeCertificate({ commonName: "authority" });
  const names = ["127.0.0.1"];
  for (const issuer of [authority, stranger]) {
    const made = await makeCertificate({ commonName: "server", names, issuer });
    await impostor(spoilt(made), async (port) => {
      const { code, message } = await callTo(port, { kind: "tls", ca: authority.cert });
      assert.equal(code, "unavailable");
      assert.match(message, /not of version 3/);
    });
  }
});

Deno.test("G-17 a server's certificate leads to an authority that is asked, or is refused", async () => {
  const authority = await makeCertificate({ commonName: "authority" });
  const stranger = await makeCertificate({ commonName: "authority" });
  const made = await makeCertificate({ commonName: "server", issuer: authority });
  const other = await makeCertificate({ commonName: "server", issuer: stranger });
  const both = `${stranger.cert}${authority.cert}`;
  checkSigned([derOf(made)], both);
  checkSigned([derOf(made), derOf(authority)], authority.cert);
  const refusals: [Uint8Array[], string | undefined][] = [
    [[], authority.cert],
    [[derOf(other)], authority.cert],
    [[derOf(other), derOf(stranger)], authority.cert],
    // Who is no authority signs nobody.
    [[derOf(await makeCertificate({ commonName: "x", issuer: made })), derOf(made)], both],
    [[derOf(made)], undefined],
    [[Buffer.concat([derOf(made), Buffer.of(0)])], authority.cert],
  ];
  for (const [shown, ca] of refusals) assert.throws(() => checkSigned(shown, ca), TypeError);
});
