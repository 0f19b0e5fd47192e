// For tests: a module that makes many calls one after another and prints the ones that succeed.
import { encodeModule, op } from "./_encode.ts";
import { type FunctionName, SIGNATURES } from "./abi.ts";

/** An argument: a number, or a text that becomes its address and length. */
export type Argument = number | string;

/** One call and what it is called when it succeeds. */
export interface Attempt {
  readonly name: string;
  readonly call: FunctionName;
  readonly args: readonly Argument[];
}

/** Free memory of the module below its texts: results of calls may go there. */
export const SCRATCH = 256;
/** Where texts begin; more memory than all of them need follows. */
const TEXTS = 4096;

/** `if` the number on the stack is 0, these instructions. */
const ifZero = (body: readonly number[]): number[] => [0x45, 0x04, 0x40, ...body, 0x0b];

/** The module; its calls can use descriptors and addresses as they like. */
export function attemptsModule(attempts: readonly Attempt[], pages = 4): Uint8Array<ArrayBuffer> {
  const imports: FunctionName[] = ["fd_write"];
  const data: Record<number, string> = {};
  const places = new Map<string, number>();
  let end = TEXTS;
  const place = (text: string): number => {
    let at = places.get(text);
    if (at === undefined) {
      places.set(text, at = end);
      data[at] = text;
      end += new TextEncoder().encode(text).length;
    }
    return at;
  };
  const length = (text: string) => new TextEncoder().encode(text).length;
  const print = (text: string): number[] => [
    ...[...op.i32(0), ...op.i32(place(text)), ...op.store],
    ...[...op.i32(4), ...op.i32(length(text)), ...op.store],
    ...[...op.i32(1), ...op.i32(0), ...op.i32(1), ...op.i32(16), ...op.call(0), ...op.drop],
  ];
  const body = attempts.flatMap(({ name, call, args }) => {
    let index = imports.indexOf(call);
    if (index < 0) index = imports.push(call) - 1;
    const [parameters = ""] = SIGNATURES[call].split(":");
    const values = args.flatMap((arg) =>
      typeof arg === "number" ? [arg] : [place(arg), length(arg)]
    );
    if (values.length !== parameters.length) throw new RangeError(`${name}: wrong arguments`);
    return [
      ...[...parameters].flatMap((type, i) =>
        type === "i" ? op.i32(values[i] as number) : op.i64(values[i] as number)
      ),
      ...op.call(index),
      ...ifZero(print(`${name}\n`)),
    ];
  });
  const needed = Math.ceil(end / 65_536) + 1;
  return encodeModule({ imports, body, data, pages: Math.max(pages, needed) });
}
