import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { makeCertificate, makeOwnCertificate, pinOf } from "./mod.ts";

/** What another implementation (OpenSSL) reads in a certificate. */
async function opensslText(cert: string): Promise<string> {
  const child = new Deno.Command("openssl", {
    args: ["x509", "-noout", "-text"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(cert));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

Deno.test("makeCertificate() makes an authority and a leaf it signed, as OpenSSL reads them", async () => {
  const ca = await makeCertificate({ commonName: "authority ü" });
  const leaf = await makeCertificate({
    commonName: "leaf",
    names: ["localhost", "127.0.0.1", "::1", "2001:db8::7:8"],
    issuer: ca,
  });
  const [a, l] = [new X509Certificate(ca.cert), new X509Certificate(leaf.cert)];
  assert.equal(a.ca, true);
  assert.equal(l.ca, false);
  assert.ok(l.verify(a.publicKey) && a.verify(a.publicKey) && !a.verify(l.publicKey));
  assert.ok(l.checkPrivateKey(createPrivateKey(leaf.key)));
  const text = await opensslText(leaf.cert);
  for (
    const part of [
      /Version: 3 /,
      /Signature Algorithm: ecdsa-with-SHA256/,
      /X509v3 Basic Constraints: critical\s+CA:FALSE/,
      /X509v3 Key Usage: critical\s+Digital Signature\n/,
      /TLS Web Server Authentication, TLS Web Client Authentication/,
      /DNS:localhost, IP Address:127\.0\.0\.1, IP Address:0:0:0:0:0:0:0:1, IP Address:2001:DB8:0:0:0:0:7:8/,
    ]
  ) assert.match(text, part);
  assert.match(
    await opensslText(ca.cert),
    /Key Usage: critical\s+Digital Signature, Certificate Sign/,
  );
});

Deno.test("makeOwnCertificate() has a fresh key each time, its pin, and dates that say nothing", async () => {
  const [one, two] = await Promise.all([makeOwnCertificate(), makeOwnCertificate()]);
  assert.notEqual(one.pin, two.pin);
  assert.match(one.pin, /^[0-9a-f]{64}$/);
  assert.equal(one.pin, pinOf(one.cert));
  assert.ok(new X509Certificate(one.cert).checkPrivateKey(createPrivateKey(one.key)));
  const text = await opensslText(one.cert);
  assert.match(
    text,
    /Not Before: Jan {2}1 00:00:00 2000 GMT\s+Not After : Dec 31 23:59:59 9999 GMT/,
  );
});
