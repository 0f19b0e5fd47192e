// Writes TCG event logs for tests, honest or not.
import { type Bank, BANKS } from "../banks.ts";
import { join } from "./der.ts";

/** Four bytes, little-endian. */
export function u32le(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >>> 8 & 0xff, value >>> 16 & 0xff, value >>> 24);
}

/** Two bytes, little-endian. */
export function u16le(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >> 8);
}

/** One event; `digested` is hashed instead of the data. */
export interface EventOrder {
  readonly register: number;
  readonly type: number;
  readonly data: Uint8Array | string;
  readonly digested?: Uint8Array | string;
}

function bytesOf(value: Uint8Array | string): Uint8Array {
  return typeof value === "string" ? new TextEncoder().encode(value) : value;
}

/** The header event of the crypto-agile form. */
export function logHeader(banks: readonly Bank[]): Uint8Array {
  const body = join(
    bytesOf("Spec ID Event03\0"),
    u32le(0),
    Uint8Array.of(0, 2, 0, 2),
    u32le(banks.length),
    ...banks.map((bank) => join(u16le(BANKS[bank].id), u16le(BANKS[bank].size))),
    Uint8Array.of(0),
  );
  return join(u32le(0), u32le(3), new Uint8Array(20), u32le(body.length), body);
}

/** One event in the crypto-agile form. */
export function logEvent(order: EventOrder, banks: readonly Bank[]): Uint8Array {
  const data = bytesOf(order.data);
  const digested = bytesOf(order.digested ?? data);
  const digests = banks.map((bank) =>
    join(
      u16le(BANKS[bank].id),
      order.type === 3 ? new Uint8Array(BANKS[bank].size) : BANKS[bank].hash(digested),
    )
  );
  return join(
    u32le(order.register),
    u32le(order.type),
    u32le(banks.length),
    ...digests,
    u32le(data.length),
    data,
  );
}

/** A whole log. */
export function eventLog(
  orders: readonly EventOrder[],
  banks: readonly Bank[] = ["sha1", "sha256"],
): Uint8Array<ArrayBuffer> {
  return join(logHeader(banks), ...orders.map((order) => logEvent(order, banks)));
}

/** UEFI_VARIABLE_DATA of the global variable `name`. */
export function globalVariable(name: string, value: Uint8Array): Uint8Array<ArrayBuffer> {
  const vendor = "61dfe48bca93d211aa0d00e098032b8c".match(/../g) ?? [];
  const units = [...name].flatMap((char) => [char.charCodeAt(0), 0]);
  return join(
    Uint8Array.from(vendor, (pair) => parseInt(pair, 16)),
    join(u32le(name.length), u32le(0), u32le(value.length), u32le(0)),
    Uint8Array.from(units),
    value,
  );
}

/** What the firmware of a PC logs at least: a version, secure boot, a separator in each of PCR 0 to 7. */
export function firmwareEvents(secureBoot = 1): EventOrder[] {
  return [
    { register: 0, type: 8, data: Uint8Array.of(0x31, 0, 0x2e, 0, 0x30, 0, 0, 0) },
    {
      register: 7,
      type: 0x80000001,
      data: globalVariable("SecureBoot", Uint8Array.of(secureBoot)),
    },
    ...[0, 1, 2, 3, 4, 5, 6, 7].map((register) => ({ register, type: 4, data: new Uint8Array(4) })),
  ];
}

/** A boot: firmware, then a boot loader with its commands. */
export const BOOT: readonly EventOrder[] = [
  ...firmwareEvents(),
  { register: 4, type: 0x80000003, data: "path of a loader", digested: "image of a loader" },
  { register: 8, type: 0x0d, data: "grub_cmd: linux /vmlinuz\0", digested: "linux /vmlinuz" },
  { register: 8, type: 0x0d, data: "kernel_cmdline: /vmlinuz ro\0", digested: "/vmlinuz ro" },
];
