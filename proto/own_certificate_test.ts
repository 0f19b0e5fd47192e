// A server that shows an agent's certificate without having its key.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { generateKeyPairSync } from "node:crypto";
import type net from "node:net";
import tls from "node:tls";
import { makeCertificate, makeOwnCertificate, type OwnCertificate } from "../channel/mod.ts";
import { keyOfOwn } from "./_own_certificate.ts";
import { connectTo, PartyService } from "./mod.ts";

const derOf = ({ cert }: { cert: string }) =>
  Buffer.from(cert.replace(/-----[^-]+-----|\n/g, ""), "base64");

/** An agent's certificate as version 1 of X.509, which Deno's TLS library does not read. */
function spoilt(own: OwnCertificate): Buffer {
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

Deno.test("M-9 G-18 a handshake whose proof Deno leaves out reaches no pinned client", async () => {
  const own = await makeOwnCertificate();
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const server = tls.createServer({
    cert: `-----BEGIN CERTIFICATE-----\n${
      spoilt(own).toString("base64")
    }\n-----END CERTIFICATE-----\n`,
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
  const { port } = server.address() as net.AddressInfo;
  const shown: string[] = [];
  {
    await using at = connectTo({ party: PartyService }, {
      target: { host: "127.0.0.1", port },
      security: { kind: "pinned", check: (key) => void shown.push(key) },
    });
    await assert.rejects(at.party.manifest({}, { timeoutMs: 10_000 }), { code: "untrusted" });
  }
  // Nothing was pinned: the key of the certificate is another's.
  assert.deepEqual(shown, []);
  for (const socket of sockets) socket.destroy();
  await new Promise<void>((resolve) => server.close(() => resolve()));
});
