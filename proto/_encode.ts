// Writes messages. Those of an upload or a result are a few texts and one large piece of a file: they
// are written into one buffer of the right size, where the general writer makes and drops several.
import { create, type DescMessage, ScalarType, toBinary } from "@bufbuild/protobuf";

const utf8 = new TextEncoder();

/** Wire type of texts and bytes, "length-delimited" (protobuf encoding, message structure). */
const LENGTH_DELIMITED = 2;

/** A function that writes messages of one kind from what {@linkcode create} takes. */
export function encoder(message: DescMessage): (init: unknown) => Uint8Array {
  const fields = message.fields.toSorted((a, b) => a.number - b.number);
  const flat = fields.every((field) =>
    field.fieldKind === "scalar" && field.oneof === undefined && field.presence === IMPLICIT &&
    (field.scalar === ScalarType.BYTES || field.scalar === ScalarType.STRING)
  );
  if (!flat) {
    return (init) => toBinary(message, create(message, init as Record<string, never>));
  }
  return (init) => {
    const given = init as Record<string, string | Uint8Array | undefined>;
    const parts: Uint8Array[] = [];
    for (const { number, localName } of fields) {
      const value = given[localName];
      const bytes = typeof value === "string" ? utf8.encode(value) : value;
      // proto3 leaves out what is empty.
      if (bytes === undefined || bytes.length === 0) continue;
      const head = [...varint(number << 3 | LENGTH_DELIMITED), ...varint(bytes.length)];
      parts.push(Uint8Array.from(head), bytes);
    }
    const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  };
}

/** proto3's fields without `optional`: features.field_presence IMPLICIT (descriptor.proto). */
const IMPLICIT = 2;

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 0x7f; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value];
}
