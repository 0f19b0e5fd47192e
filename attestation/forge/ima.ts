// Writes IMA lists for tests, binary and ASCII, honest or not.
import { sha1 } from "@noble/hashes/legacy.js";
import { type Bank, BANKS, extend, zeroRegister } from "../banks.ts";
import { toHex } from "../verdict.ts";
import { join } from "./der.ts";
import { u32le } from "./eventlog.ts";

/** One entry to write; fields as they stand in the template data, without lengths. */
export interface ImaOrder {
  readonly template: string;
  readonly fields: readonly Uint8Array[];
  readonly pcr?: number;
  /** Writes zeros as template hash: the PCR is extended by FF. */
  readonly violation?: boolean;
  /** Written instead of the right template hash. */
  readonly hash?: Uint8Array;
}

const text = (value: string) => new TextEncoder().encode(value);

/** A `d-ng` field; with `kind`, a `d-ngv2` field. */
export function digestField(algorithm: string, digest: Uint8Array, kind?: string): Uint8Array {
  return join(text(`${kind === undefined ? "" : `${kind}:`}${algorithm}:\0`), digest);
}

/** An `n-ng` field. */
export function nameField(name: string): Uint8Array {
  return text(`${name}\0`);
}

/** A file measured with SHA-256, template `ima-ng`. */
export function measured(path: string, content: string): ImaOrder {
  const digest = BANKS.sha256.hash(text(content));
  return { template: "ima-ng", fields: [digestField("sha256", digest), nameField(path)] };
}

function dataOf({ template, fields }: ImaOrder): Uint8Array {
  if (template !== "ima") return join(...fields.map((field) => join(u32le(field.length), field)));
  const [digest, name] = fields as [Uint8Array, Uint8Array];
  const data = new Uint8Array(276);
  data.set(digest);
  data.set(name, 20);
  return data;
}

function hashOf(order: ImaOrder): Uint8Array {
  if (order.violation) return new Uint8Array(20);
  return order.hash ?? sha1(dataOf(order));
}

/** The binary list. */
export function binaryList(orders: readonly ImaOrder[]): Uint8Array<ArrayBuffer> {
  return join(...orders.map((order) => {
    const name = text(order.template);
    const head = join(u32le(order.pcr ?? 10), hashOf(order), u32le(name.length), name);
    if (order.template !== "ima") {
      const data = dataOf(order);
      return join(head, u32le(data.length), data);
    }
    const [digest, path] = order.fields as [Uint8Array, Uint8Array];
    return join(head, digest, u32le(path.length), path);
  }));
}

/** The ASCII list, as a kernel shows it. */
export function asciiList(orders: readonly ImaOrder[]): Uint8Array<ArrayBuffer> {
  const lines = orders.map((order) => {
    const words = order.fields.map((field, at) => asciiField(order.template, field, at));
    const pcr = String(order.pcr ?? 10).padStart(2, " ");
    return join(
      text(`${pcr} ${toHex(hashOf(order))} ${order.template} `),
      joinBlanks(words),
      text("\n"),
    );
  });
  return join(...lines);
}

function asciiField(template: string, field: Uint8Array, at: number): Uint8Array {
  if (template === "ima") return at === 0 ? text(toHex(field)) : field;
  const digest = at === 0 || (template === "ima-modsig" && at === 3);
  if (at === 1) return field.subarray(0, -1);
  if (!digest) return text(toHex(field));
  const end = field.indexOf(0);
  return end === -1 ? field : join(field.subarray(0, end), text(toHex(field.subarray(end + 1))));
}

function joinBlanks(words: readonly Uint8Array[]): Uint8Array {
  return join(...words.flatMap((word, at) => at === 0 ? [word] : [text(" "), word]));
}

/** Value of PCR 10 after these entries, as a TPM has it. */
export function pcr10(orders: readonly ImaOrder[], bank: Bank): Uint8Array {
  let value = zeroRegister(bank);
  for (const order of orders) {
    const digest = order.violation
      ? new Uint8Array(BANKS[bank].size).fill(0xff)
      : BANKS[bank].hash(dataOf(order));
    value = extend(bank, value, digest);
  }
  return value;
}
