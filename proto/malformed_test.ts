// Any bytes as a message of any method (threats G-12): a value or a typed refusal on that call, never
// an exception outside it. Bytes come from the grammar of protobuf, bent in every way it can be.
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { Metadata } from "@grpc/grpc-js";
import { type DescMessage, type DescMethod, fromBinary } from "@bufbuild/protobuf";
import { Status } from "../base/mod.ts";
import { adapt } from "./_adapter.ts";
import { AgentService, cvms, CvmsService, ManagerService } from "./mod.ts";
import { Health } from "./gen/health_pb.ts";

/** Messages of one run. */
const EXECUTIONS = 1_000_000;

/** Numbers below `n`, the same for the same seed (xorshift, 32 bits). */
function numbers(seed: number): (n: number) => number {
  let x = seed | 1;
  return (n) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % n;
  };
}

/** A base-128 varint. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push(value % 128 | 128);
  return [...bytes, value];
}

/** A message of the grammar, with lies. */
function sentence(any: (n: number) => number, fields: readonly number[], depth = 0): number[] {
  const bytes: number[] = [];
  const count = any(4);
  for (let i = 0; i < count; i++) {
    const number = [fields[any(fields.length)] ?? 1, 0, 15, 16, 100, 2 ** 29 - 1][any(20) % 6] ?? 1;
    const type = any(8);
    bytes.push(...varint(number * 8 + type));
    const some = () => Array.from({ length: any(12) }, () => any(256));
    if (type === 0) {
      // Also ten bytes of all ones, and a varint that never ends.
      bytes.push(
        ...[varint(any(2 ** 31)), Array(9).fill(255).concat(1), Array(11).fill(255)][
          any(8) % 3
        ] as number[],
      );
    } else if (type === 2) {
      const inner = any(3) === 0 && depth < 6 ? sentence(any, fields, depth + 1) : some();
      const length = [inner.length, inner.length + 1 + any(9), 2 ** 31 - 1, 2 ** 32 - 1][
        any(12) % 4
      ] as number;
      bytes.push(...varint(any(2) === 0 ? inner.length : length), ...inner);
    } else if (type === 1 || type === 5) {
      bytes.push(...Array.from({ length: (type === 1 ? 8 : 4) - any(2) }, () => any(256)));
    } else {
      bytes.push(...some());
    }
  }
  return any(6) === 0 ? bytes.slice(0, any(bytes.length + 1)) : bytes;
}

/** One call of a method with these bytes; gives how it ended, once. */
function called(method: DescMethod, bytes: Uint8Array): Promise<{ code?: number; text: string }> {
  return new Promise((resolve, reject) => {
    let ends = 0;
    const end = (error: { code?: number; details?: string } | null) => {
      if (++ends > 1) reject(new Error("a call ended twice"));
      resolve({
        ...(error?.code === undefined ? {} : { code: error.code }),
        text: error?.details ?? "",
      });
    };
    const call = Object.assign(new EventEmitter(), {
      metadata: new Metadata(),
      request: bytes,
      cancelled: false,
      getPeer: () => "peer",
      call: { stream: new EventEmitter() },
      iterator: async function* () {
        yield bytes;
      },
      write: () => true,
      end: () => end(null),
    });
    call.on("error", end);
    const drained = async (input: AsyncIterable<unknown> | object) => {
      if (Symbol.asyncIterator in input) { for await (const _ of input); }
      return {};
    };
    const many = async function* (input: AsyncIterable<unknown> | object) {
      yield await drained(input);
    };
    const streams = method.methodKind === "server_streaming" ||
      method.methodKind === "bidi_streaming";
    adapt(method, streams ? many : drained, "none", undefined)(
      call as unknown as Parameters<ReturnType<typeof adapt>>[0],
      (error) => end(error as { code?: number } | null),
    );
  });
}

const METHODS: DescMethod[] = [AgentService, ManagerService, CvmsService, Health]
  .flatMap(({ methods }): DescMethod[] => methods);

/** Numbers of a message's fields, those of the messages in it too. */
function fieldsOf(message: DescMessage, depth = 3): number[] {
  return message.fields.flatMap((field) => [
    field.number,
    ...(field.message === undefined || depth === 0 ? [] : fieldsOf(field.message, depth - 1)),
  ]);
}

Deno.test("G-12 a million malformed messages of every method are read or refused on their call", async () => {
  const seed = 0x5eed;
  const any = numbers(seed);
  const ends = { read: 0, refused: 0 };
  const each = METHODS.map((method) => ({ method, fields: fieldsOf(method.input) }));
  for (let i = 0; i < EXECUTIONS; i++) {
    const { method, fields } = each[i % each.length] as (typeof each)[number];
    const bytes = Uint8Array.from(sentence(any, fields));
    const { code, text } = await called(method, bytes);
    if (code === undefined) {
      ends.read++;
      continue;
    }
    ends.refused++;
    const shown = `${method.name}(${bytes.toHex()})`;
    assert.equal(code, Status.INVALID_ARGUMENT, shown);
    assert.equal(text, `Cannot read ${method.input.typeName}`, shown);
  }
  // Both happen often: neither the grammar nor the reader takes or refuses everything.
  assert.ok(ends.read > EXECUTIONS / 10 && ends.refused > EXECUTIONS / 10, JSON.stringify(ends));
});

Deno.test("G-12 deep nesting, doubled fields, two members of a oneof and large enums are defined", async () => {
  const algo = AgentService.method.algo;
  // Ten thousand groups within one another, of a field nobody knows.
  const deep = new Uint8Array(20_000).fill(0x1b, 0, 10_000).fill(0x1c, 10_000);
  const nested = await called(algo, deep);
  assert.ok(nested.code === undefined || nested.code === Status.INVALID_ARGUMENT, nested.text);
  // Length-delimited messages within one another, in a message that has one.
  let inner: number[] = [];
  for (let i = 0; i < 10_000; i++) {
    inner = [0x0a, ...varint(inner.length), ...inner.slice(0, 4_000)];
  }
  const within = await called(CvmsService.method.process, Uint8Array.from(inner));
  assert.ok(within.code === undefined || within.code === Status.INVALID_ARGUMENT, within.text);
  // proto3: the last of doubled scalars and of a oneof's members counts, an enum keeps its number.
  const text = (value: string) => [value.length, ...new TextEncoder().encode(value)];
  const stop = [0x1a, 3, 0x0a, ...text("a")];
  const state = [0x22, 3, 0x0a, ...text("b")];
  const both = fromBinary(cvms.ServerStreamMessageSchema, Uint8Array.from([...stop, ...state]));
  assert.equal(both.message.case, "agentStateReq");
  const twice = fromBinary(
    cvms.StopComputationSchema,
    Uint8Array.from([0x0a, ...text("a"), 0x0a, ...text("b")]),
  );
  assert.equal(twice.computationId, "b");
  const utf8 = await called(ManagerService.method.removeVm, Uint8Array.from([0x0a, 1, 0xff]));
  assert.ok(utf8.code === undefined || utf8.code === Status.INVALID_ARGUMENT, utf8.text);
});
