import assert from "node:assert/strict";
import { create, type DescMessage, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { encoder } from "./_encode.ts";
import { AgentService } from "./gen/agent_pb.ts";
import { ComputationRunReqSchema } from "./gen/cvms_pb.ts";

/** What the general writer makes. */
function general(message: DescMessage, init: unknown): string {
  return toBinary(message, create(message, init as Record<string, never>)).toHex();
}

Deno.test("encoder() writes what the general writer does", () => {
  const { algo, data, result } = AgentService.method;
  const cases: readonly [DescMessage, readonly string[], readonly string[]][] = [
    [algo.input, ["algorithm", "requirements"], []],
    [data.input, ["dataset"], ["filename"]],
    [result.output, ["file"], []],
  ];
  for (const [message, bytes, texts] of cases) {
    const fields = Object.fromEntries([
      ...bytes.map((
        name,
      ) => [name, fc.option(fc.uint8Array({ maxLength: 300 }), { nil: undefined })]),
      ...texts.map((name) => [name, fc.option(fc.string({ unit: "binary" }), { nil: undefined })]),
    ]);
    fc.assert(fc.property(fc.record(fields), (init) => {
      assert.equal(encoder(message)(init).toHex(), general(message, init));
    }));
  }
  const large = { dataset: new Uint8Array(1 << 20).fill(7), filename: "päckchen" };
  assert.equal(encoder(data.input)(large).toHex(), general(data.input, large));
});

Deno.test("encoder() leaves other messages to the general writer", () => {
  const init = { id: "1", datasets: [{ filename: "a" }], agentConfig: { port: "7" } };
  assert.equal(
    encoder(ComputationRunReqSchema)(init).toHex(),
    general(ComputationRunReqSchema, init),
  );
});
