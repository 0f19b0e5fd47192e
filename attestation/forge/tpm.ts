// A fake TPM for tests: one attestation key, quotes with any field set to any value, all correctly
// signed. Real policies refuse it, for nothing they trust names its key.
import { type Bank, BANKS, type BankValues } from "../banks.ts";
import { KeyAttribute } from "../tpm/mod.ts";
import { join } from "./der.ts";

/** Attributes of an honest attestation key. */
export const AK_ATTRIBUTES = KeyAttribute.fixedTPM | KeyAttribute.fixedParent |
  KeyAttribute.sensitiveDataOrigin | KeyAttribute.restricted | KeyAttribute.sign;

/** Fields of a forged quote; what is absent is honest. */
export interface QuoteOrder {
  readonly nonce?: Uint8Array;
  readonly values: BankValues;
  /** Order and registers of the selection, if not those of the values. */
  readonly selections?: readonly (readonly [Bank, readonly number[]])[];
  readonly magic?: number;
  readonly type?: number;
  readonly clock?: bigint;
  readonly resetCount?: number;
  readonly restartCount?: number;
  readonly safe?: number;
  readonly digest?: Uint8Array;
  readonly tail?: Uint8Array;
}

/** A fake TPM. */
export interface FakeTpm {
  /** TPMT_PUBLIC of its attestation key. */
  readonly area: Uint8Array;
  quote(order: QuoteOrder): Promise<{ quote: Uint8Array; signature: Uint8Array }>;
}

/** Bytes of hex. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Two bytes, big-endian. */
export function u16be(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

/** Four bytes, big-endian. */
export function u32be(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16 & 0xff, value >>> 8 & 0xff, value & 0xff);
}

function u64be(value: bigint): Uint8Array {
  return join(u32be(Number(value >> 32n)), u32be(Number(value & 0xffffffffn)));
}

/** A TPM2B: a length before the bytes. */
export function sized(bytes: Uint8Array): Uint8Array {
  return join(u16be(bytes.length), bytes);
}

/** TPMT_PUBLIC of a P-256 key with ECDSA and SHA-256. */
export function eccArea(point: Uint8Array, attributes: number): Uint8Array {
  return join(
    u16be(0x23),
    u16be(0x0b),
    u32be(attributes),
    u16be(0),
    u16be(0x10),
    join(u16be(0x18), u16be(0x0b)),
    u16be(3),
    u16be(0x10),
    sized(point.subarray(1, 33)),
    sized(point.subarray(33)),
  );
}

/** A TPM with a new P-256 key. */
export async function fakeTpm(attributes: number = AK_ATTRIBUTES): Promise<FakeTpm> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const point = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  return {
    area: eccArea(point, attributes),
    quote: async (order) => {
      const quote = quoteBytes(order);
      const raw = new Uint8Array(
        await crypto.subtle.sign(
          { name: "ECDSA", hash: "SHA-256" },
          pair.privateKey,
          quote as BufferSource,
        ),
      );
      const parts = [sized(raw.subarray(0, 32)), sized(raw.subarray(32))];
      return { quote, signature: join(u16be(0x18), u16be(0x0b), ...parts) };
    },
  };
}

function quoteBytes(order: QuoteOrder): Uint8Array {
  const selections = order.selections ??
    [...order.values].map(([bank, registers]) =>
      [bank, [...registers.keys()].sort((a, b) => a - b)] as const
    );
  const values = selections.flatMap(([bank, indices]) =>
    indices.map((index) => order.values.get(bank)?.get(index) ?? new Uint8Array())
  );
  return join(
    u32be(order.magic ?? 0xff544347),
    u16be(order.type ?? 0x8018),
    sized(new Uint8Array(34)),
    sized(order.nonce ?? new Uint8Array()),
    u64be(order.clock ?? 1000n),
    u32be(order.resetCount ?? 7),
    u32be(order.restartCount ?? 0),
    Uint8Array.of(order.safe ?? 1),
    u64be(0x20191023n),
    u32be(selections.length),
    ...selections.map(([bank, indices]) =>
      join(u16be(BANKS[bank].id), Uint8Array.of(3), bitmap(indices))
    ),
    sized(order.digest ?? BANKS.sha256.hash(join(...values))),
    order.tail ?? new Uint8Array(),
  );
}

function bitmap(indices: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(3);
  for (const index of indices) bytes[index >> 3] = (bytes[index >> 3] as number) | 1 << (index & 7);
  return bytes;
}
