import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import {
  generateKeys,
  KEY_KINDS,
  readPrivateKey,
  readPublicKey,
  readPublicKeyPem,
  ROLES,
  signRole,
  verifyRole,
} from "./auth.ts";

const LABELS = { rsa: "PRIVATE KEY", ecdsa: "EC PRIVATE KEY", ed25519: "PRIVATE KEY" };

Deno.test("generateKeys() writes the labels and bodies of the Go CLI", async () => {
  for (const kind of KEY_KINDS) {
    const { privatePem, publicPem } = await generateKeys(kind);
    assert.ok(privatePem.startsWith(`-----BEGIN ${LABELS[kind]}-----\n`), kind);
    assert.ok(publicPem.startsWith("-----BEGIN PUBLIC KEY-----\n"), kind);
    const body = Uint8Array.fromBase64(privatePem.split("\n").slice(1, -2).join(""));
    // PKCS#1 begins SEQUENCE, INTEGER 0, INTEGER modulus; PKCS#8 has an AlgorithmIdentifier there.
    if (kind === "rsa") assert.equal(body[7], 0x02, "RSA body is PKCS#1");
    assert.equal(readPrivateKey(privatePem).kind, kind);
  }
});

Deno.test("verifyRole() takes the signature of the same key and role only (G-1, G-3)", async () => {
  const pairs = await Promise.all(KEY_KINDS.map((kind) => generateKeys(kind)));
  for (const [i, pair] of pairs.entries()) {
    const signature = signRole(ROLES.data, readPrivateKey(pair.privatePem));
    for (const [j, other] of pairs.entries()) {
      const key = readPublicKey(readPublicKeyPem(other.publicPem));
      assert.equal(verifyRole(ROLES.data, signature, key), i === j);
      assert.equal(verifyRole(ROLES.algorithm, signature, key), false);
      assert.equal(verifyRole(ROLES.consumer, signature, key), false);
    }
    const key = readPublicKey(readPublicKeyPem(pair.publicPem));
    for (const bad of ["", "=", ` ${signature}`, `${signature}\n`, signature.slice(0, -4)]) {
      assert.equal(verifyRole(ROLES.data, bad, key), false, JSON.stringify(bad));
    }
    assert.equal(verifyRole(ROLES.data, "A".repeat(1 << 20), key), false);
    const raw = Uint8Array.fromBase64(signature);
    raw[raw.length - 1] = (raw[raw.length - 1] as number) ^ 1;
    assert.equal(verifyRole(ROLES.data, raw.toBase64(), key), false);
  }
});

Deno.test("readPublicKey() refuses keys nobody should hold (M-5)", async () => {
  const made = [
    generateKeyPairSync("rsa", { modulusLength: 512 }),
    generateKeyPairSync("rsa", { modulusLength: 1024 }),
    generateKeyPairSync("x25519"),
    generateKeyPairSync("ec", { namedCurve: "secp256k1" }),
    generateKeyPairSync("ec", { namedCurve: "P-521" }),
  ].map(({ publicKey }) => new Uint8Array(publicKey.export({ type: "spki", format: "der" })));
  made.push(
    new Uint8Array(),
    new Uint8Array(91),
  );
  const { publicPem } = await generateKeys("ecdsa");
  const good = readPublicKeyPem(publicPem);
  const offCurve = good.slice();
  offCurve[offCurve.length - 1] = (offCurve[offCurve.length - 1] as number) ^ 1;
  made.push(offCurve, new Uint8Array([...good, 0]), new TextEncoder().encode(publicPem));
  for (const [i, der] of made.entries()) {
    assert.throws(() => readPublicKey(der), { name: "CocosError", code: "invalid-key" }, `${i}`);
  }
});

Deno.test("readPublicKey() refuses an RSA exponent of 1 or an even one, in good DER (M-5)", () => {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048, publicExponent: 3 });
  const der = new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
  assert.equal(readPublicKey(der).kind, "rsa");
  // The exponent is the last INTEGER: 02 01 03. (Deno refuses it too, before we look.)
  for (const exponent of [1, 2, 4]) {
    const bad = der.slice();
    bad[bad.length - 1] = exponent;
    assert.throws(() => readPublicKey(bad), { name: "CocosError", code: "invalid-key" });
  }
});

Deno.test("readPrivateKey() and readPublicKeyPem() throw typed errors on any text", () => {
  const text = fc.oneof(
    fc.string({ maxLength: 300 }),
    fc.base64String().map((b) => `-----BEGIN PRIVATE KEY-----\n${b}\n-----END PRIVATE KEY-----\n`),
    fc.base64String().map((b) => `-----BEGIN PUBLIC KEY-----\n${b}\n-----END PUBLIC KEY-----\n`),
  );
  fc.assert(fc.property(text, (pem) => {
    for (const read of [readPrivateKey, readPublicKeyPem]) {
      assert.throws(() => read(pem), { name: "CocosError", code: "invalid-key" });
    }
  }));
});
