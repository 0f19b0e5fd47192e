// Certificates, lists, PEM and signatures: the games a hostile party plays with encodings.
import assert from "node:assert/strict";
import fc from "fast-check";
import { p384 } from "@noble/curves/nist.js";
import "reflect-metadata";
import * as peculiar from "@peculiar/x509";
import { bits, integer, join, oid, sequence, text, time, tlv } from "../forge/der.ts";
import {
  certificate,
  ecPair,
  extension,
  name,
  type Order,
  revocationList,
  rsaPair,
} from "../forge/pki.ts";
import { builtInRoot, parseReport, PRODUCT_LINES } from "../snp/mod.ts";
import { flipped, ownVector } from "../testdata/vectors.ts";
import {
  attribute,
  booleanOf,
  decodeBase64,
  decodeBase64url,
  decodePem,
  Der,
  encodePem,
  integerOf,
  isIssuedBy,
  Oid,
  oidOf,
  only,
  p256Key,
  parseCertificate,
  parseCrl,
  parseKey,
  Tag,
  timeOf,
  verifyRaw,
  verifySignature,
} from "./mod.ts";

const NOW = Date.UTC(2026, 5, 1);
const DAY = 86_400_000;
const me = name([[Oid.COMMON_NAME, "me"]]);
const pair = await ecPair("P-256");

function order(changes: Partial<Order> = {}): Order {
  return {
    subject: me,
    issuer: me,
    spki: pair.spki,
    signer: pair,
    algorithm: "ecdsa-sha256",
    notBefore: NOW,
    notAfter: NOW + DAY,
    ...changes,
  };
}

Deno.test("parseCertificate() reads what it was made of, as another library does", async () => {
  const der = await certificate(
    order({ serial: 0x1234, extensions: [extension("1.2.3.4", Uint8Array.of(1, 2), true)] }),
  );
  const parsed = parseCertificate(der);
  assert.equal(parsed.serial, "1234");
  assert.deepEqual([parsed.notBefore, parsed.notAfter], [NOW, NOW + DAY]);
  assert.equal(attribute(parsed.subject, Oid.COMMON_NAME), "me");
  assert.deepEqual(parsed.extensions.get("1.2.3.4"), {
    critical: true,
    value: Uint8Array.of(1, 2),
  });
  assert.equal(await isIssuedBy(parsed, parsed), true);
  for (const each of [der, ...PRODUCT_LINES.map((line) => builtInRoot(line).raw)]) {
    const ours = parseCertificate(each);
    const other = new peculiar.X509Certificate(each as Uint8Array<ArrayBuffer>);
    assert.equal(ours.serial, other.serialNumber);
    assert.equal(ours.notAfter, other.notAfter.getTime());
    assert.deepEqual([...ours.extensions.keys()], [...other.extensions].map(({ type }) => type));
    assert.equal(await other.verify({ signatureOnly: true }), true);
  }
});

Deno.test("A-6 parseCertificate() refuses SHA-1, unknown schemes and PSS parameter games", async () => {
  const hash = (type: string) => sequence(oid(type), Uint8Array.of(5, 0));
  const sha384 = hash("2.16.840.1.101.3.4.2.2");
  const pss = (...parts: Uint8Array[]) =>
    sequence(oid("1.2.840.113549.1.1.10"), sequence(...parts));
  const mgf = (inner: Uint8Array) => tlv(0xa1, sequence(oid("1.2.840.113549.1.1.8"), inner));
  const identifiers: Record<string, Uint8Array> = {
    "SHA-1 with RSA": hash("1.2.840.113549.1.1.5"),
    "MD5 with RSA": hash("1.2.840.113549.1.1.4"),
    "ECDSA with SHA-1": sequence(oid("1.2.840.10045.4.1")),
    "ECDSA with parameters": sequence(oid("1.2.840.10045.4.3.2"), Uint8Array.of(5, 0)),
    "PSS of defaults": pss(),
    "PSS with another MGF hash": pss(
      tlv(0xa0, sha384),
      mgf(hash("2.16.840.1.101.3.4.2.1")),
      tlv(0xa2, integer(48)),
    ),
    "PSS with short salt": pss(tlv(0xa0, sha384), mgf(sha384), tlv(0xa2, integer(20))),
    "PSS with another trailer": pss(
      tlv(0xa0, sha384),
      mgf(sha384),
      tlv(0xa2, integer(48)),
      tlv(0xa3, integer(2)),
    ),
    "PSS with SHA-1": pss(
      tlv(0xa0, hash("1.3.14.3.2.26")),
      mgf(hash("1.3.14.3.2.26")),
      tlv(0xa2, integer(20)),
    ),
    "PSS with something behind": pss(
      tlv(0xa0, sha384),
      mgf(sha384),
      tlv(0xa2, integer(48)),
      tlv(0xa4),
    ),
  };
  for (const [what, identifier] of Object.entries(identifiers)) {
    const der = await certificate(order({ identifier }));
    assert.throws(() => parseCertificate(der), /Cannot read a certificate/, what);
  }
  const good = await certificate(order());
  const [tbs, , signature] = [...parts(good)];
  const mixed = sequence(
    tbs as Uint8Array,
    sequence(oid("1.2.840.10045.4.3.3")),
    signature as Uint8Array,
  );
  assert.throws(() => parseCertificate(mixed), /algorithms differ/);
});

/** Elements inside of a sequence. */
function* parts(der: Uint8Array): Generator<Uint8Array> {
  const inner = new Der(only(der, Tag.SEQUENCE, "x").content, "x");
  while (!inner.done) yield inner.next().raw;
}

Deno.test("A-6 parseCertificate() refuses doubled extensions, weak and unknown keys, versions and trailing bytes", async () => {
  const one = extension("1.2.3", Uint8Array.of(1));
  await assert.rejects(
    async () => parseCertificate(await certificate(order({ extensions: [one, one] }))),
    /twice/,
  );
  const rsa = (modulus: number) =>
    sequence(
      sequence(oid("1.2.840.113549.1.1.1"), Uint8Array.of(5, 0)),
      bits(sequence(integer((1n << BigInt(modulus)) - 1n), integer(3))),
    );
  const keys: Uint8Array[] = [
    rsa(1024),
    rsa(9000),
    sequence(sequence(oid("1.3.101.112")), bits(new Uint8Array(32))),
    sequence(sequence(oid("1.2.840.10045.2.1"), oid("1.3.132.0.10")), bits(new Uint8Array(65))),
    sequence(
      sequence(oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7")),
      bits(new Uint8Array(33).fill(2)),
    ),
  ];
  for (const spki of keys) {
    await assert.rejects(
      async () => parseCertificate(await certificate(order({ spki }))),
      /Cannot read a certificate/,
    );
  }
  const good = await certificate(order());
  assert.throws(() => parseCertificate(join(good, Uint8Array.of(0))), /trailing/);
  assert.throws(() => parseCertificate(new Uint8Array(17_000)), /more than/);
  const [tbs, algorithm, signature] = [...parts(good)] as [Uint8Array, Uint8Array, Uint8Array];
  const body = [...parts(tbs)];
  const old = sequence(...body.slice(1), tlv(0xa3, sequence(one)));
  assert.throws(() => parseCertificate(sequence(old, algorithm, signature)), /version 3/);
});

Deno.test("A-6 verifySignature() refuses a point off its curve, a wrong key kind and malformed signatures", async () => {
  const data = new Uint8Array(10);
  const off = p256Key(new Uint8Array(64).fill(1));
  await assert.rejects(
    verifyRaw(off, "SHA-256", new Uint8Array(64).fill(1), data),
    /not a valid key/,
  );
  const key = parseKey(only(pair.spki, Tag.SEQUENCE, "x"), "x");
  const rsa = parseKey(only(rsaPair("ark").spki, Tag.SEQUENCE, "x"), "x");
  const good = await pair.sign("ecdsa-sha256", data);
  assert.equal(await verifySignature(key, "ecdsa-sha256", good, data), true);
  assert.equal(await verifySignature(rsa, "ecdsa-sha256", good, data), false);
  assert.equal(await verifySignature(key, "rsa-sha256", good, data), false);
  for (
    const wrong of [
      new Uint8Array(),
      join(good, Uint8Array.of(0)),
      sequence(integer(0), integer(1)),
      sequence(integer(1n << 300n), integer(1)),
    ]
  ) {
    assert.equal(await verifySignature(key, "ecdsa-sha256", wrong, data), false);
  }
  assert.equal(await verifyRaw(key, "SHA-256", new Uint8Array(63), data), false);
  assert.equal(await verifyRaw(rsa, "SHA-256", new Uint8Array(64), data), false);
  const signature = await rsaPair("ark").sign("rsa-pss-sha384", data);
  assert.equal(await verifySignature(rsa, "rsa-pss-sha384", signature, data), true);
  assert.equal(
    await verifySignature(rsa, "rsa-pss-sha384", join(Uint8Array.of(0), signature), data),
    false,
  );
  assert.equal(await verifySignature(rsa, "rsa-sha384", signature, data), false);
});

Deno.test("verifyRaw() agrees with noble on real and changed SNP signatures", async () => {
  const report = parseReport(ownVector("snp/milan-v2-vcek-report.bin"));
  const { key } = parseCertificate(ownVector("snp/milan-v2-vcek.der"));
  assert.ok(key.kind === "ec");
  for (const signed of [report.signed, flipped(report.signed, 8), flipped(report.signed, 5000)]) {
    const ours = await verifyRaw(key, "SHA-384", report.signature, signed);
    const noble = p384.verify(report.signature, signed, key.point, { lowS: false });
    assert.equal(ours, noble);
    assert.equal(ours, signed === report.signed);
  }
});

Deno.test("A-6 isIssuedBy() needs the issuer's name byte for byte as well as its signature", async () => {
  const issuer = parseCertificate(await certificate(order()));
  const named = parseCertificate(
    await certificate(order({ issuer: name([[Oid.COMMON_NAME, "you"]]) })),
  );
  assert.equal(await isIssuedBy(named, issuer), false);
});

Deno.test("A-6 parseCrl() reads a list and refuses endless, delta and doubled ones", async () => {
  const list = {
    issuer: me,
    signer: pair,
    algorithm: "ecdsa-sha256",
    thisUpdate: NOW,
    nextUpdate: NOW + DAY,
  } as const;
  const der = await revocationList({ ...list, serials: [7, 300] });
  assert.deepEqual([...parseCrl(der).revoked], ["07", "012c"]);
  assert.deepEqual([...parseCrl(await revocationList(list)).revoked], []);
  const [tbs, algorithm, signature] = [...parts(der)] as [Uint8Array, Uint8Array, Uint8Array];
  const body = [...parts(tbs)];
  const endless = sequence(...body.filter((_, at) => at !== 4));
  assert.throws(() => parseCrl(sequence(endless, algorithm, signature)), /nextUpdate is missing/);
  const delta = sequence(...body, tlv(0xa0, sequence(extension("2.5.29.27", integer(1), true))));
  assert.throws(() => parseCrl(sequence(delta, algorithm, signature)), /critical extension/);
  assert.throws(() => parseCrl(join(der, der)), /trailing/);
});

Deno.test("A-14 Der refuses indefinite, long and over-long lengths, high tags and cut elements", () => {
  for (
    const bytes of [
      [],
      [0x30],
      [0x30, 0x80, 0, 0],
      [0x30, 0x81, 0x01, 0],
      [0x30, 0x82, 0, 0x80],
      [0x30, 0x84, 0, 0, 0, 1, 0],
      [0x1f, 0x81, 0],
      [0x30, 5, 1],
    ]
  ) {
    assert.throws(() => new Der(Uint8Array.from(bytes), "x").next(), /Cannot read x as DER/);
  }
  const element = (tag: number, ...content: number[]) => ({
    tag,
    content: Uint8Array.from(content),
    raw: new Uint8Array(),
  });
  for (const content of [[], [0, 1], [0xff, 0x80]]) {
    assert.throws(() => integerOf(element(2, ...content), "x"));
  }
  assert.equal(integerOf(element(2, 0xff), "x"), -1n);
  for (const content of [[], [1], [0, 0]]) {
    assert.throws(() => booleanOf(element(1, ...content), "x"));
  }
  for (const content of [[], [0x80, 1], [0x81], [0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]]) {
    assert.throws(() => oidOf(element(6, ...content), "x"));
  }
  assert.throws(() => only(Uint8Array.of(5, 0, 5, 0), Tag.NULL, "x"), /trailing/);
});

Deno.test("oidOf() and timeOf() are the inverse of the writer, whatever the value", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("0.9", "1.2", "2.99999"),
      fc.array(fc.nat(2 ** 31)),
      (head, arcs) => {
        const dotted = [head, ...arcs].join(".");
        assert.equal(oidOf(only(oid(dotted), Tag.OID, "x"), "x"), dotted);
      },
    ),
  );
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 32 }), (seconds) => {
    assert.equal(timeOf(new Der(time(seconds * 1000), "x").next(), "x"), seconds * 1000);
  }));
  for (
    const wrong of [
      "260230000000Z",
      "2601010000Z",
      "260101000000+0000",
      "260101000060Z",
      "261301000000Z",
    ]
  ) {
    assert.throws(() => timeOf(new Der(text(wrong, Tag.UTC_TIME), "x").next(), "x"), /time/);
  }
});

Deno.test("decodePem() takes whole blocks of one label only, decodeBase64() canonical text only", () => {
  const block = encodePem(new Uint8Array(100), "CERTIFICATE");
  assert.equal(decodePem(`text\n${block}${block}`, "CERTIFICATE").length, 2);
  for (
    const wrong of [
      encodePem(new Uint8Array(1), "PRIVATE KEY"),
      block.replace("-----END CERTIFICATE-----", ""),
      block.replace("AAAA", "AA A"),
      block.replace("AAAA", "AA=A"),
      block.repeat(17),
    ]
  ) assert.throws(() => decodePem(wrong, "CERTIFICATE"), /Cannot read/);
  for (const wrong of ["A", "AB==", "AA", "A===", "AA==\n", "AA-_"]) {
    assert.throws(() => decodeBase64(wrong), /base64/);
  }
  for (const wrong of ["A", "AB", "AA==", "AA+/", "A A"]) {
    assert.throws(() => decodeBase64url(wrong), /base64/);
  }
  assert.deepEqual(decodeBase64url("AA"), Uint8Array.of(0));
});

Deno.test("A-14 an INTEGER of a megabyte is refused by its length, not read as a number", async () => {
  const list = await revocationList({
    issuer: me,
    signer: pair,
    algorithm: "ecdsa-sha256",
    thisUpdate: NOW,
    nextUpdate: NOW + DAY,
    serials: [1],
  });
  assert.equal(parseCrl(list).revoked.size, 1);
  const huge = new Uint8Array(1_000_000).fill(0x55);
  const serial = tlv(Tag.INTEGER, huge);
  const entry = sequence(sequence(serial, time(NOW)));
  const head = sequence(oid("1.2.840.10045.4.3.2"));
  const body = sequence(head, me, time(NOW), time(NOW + DAY), entry);
  const crl = sequence(body, head, bits(Uint8Array.of(1)));
  assert.throws(() => parseCrl(crl), /a serial number above 20 bytes/);
  const element = only(serial, Tag.INTEGER, "a number");
  assert.throws(() => integerOf(element, "a number"), /an INTEGER of more than 64 bytes/);
});

Deno.test("A-6 parseKey() refuses RSA exponents under which a signature proves nothing", () => {
  const modulus = Uint8Array.of(0, 0x80, ...new Uint8Array(254), 1);
  const key = (exponent: Uint8Array) => {
    const numbers = sequence(tlv(Tag.INTEGER, modulus), tlv(Tag.INTEGER, exponent));
    const algorithm = sequence(oid("1.2.840.113549.1.1.1"), Uint8Array.of(5, 0));
    return only(sequence(algorithm, bits(numbers)), Tag.SEQUENCE, "a key");
  };
  assert.equal(parseKey(key(Uint8Array.of(3)), "a key").kind, "rsa");
  for (const wrong of [[1], [2], [1, 0, 0], [1, 0, 0, 0, 1], [0x80]]) {
    assert.throws(() => parseKey(key(Uint8Array.from(wrong)), "a key"), /exponent|below 1/);
  }
});
