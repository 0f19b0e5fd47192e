// The QMP client against pretended servers on a real socket.
import assert from "node:assert/strict";
import { identify, MAX_LINE, Qmp } from "./qmp.ts";

/** Serves one client with a script of answers; gives the lines it got. */
async function withServer(
  script: (line: string | undefined) => string | undefined,
  test: (path: string) => Promise<void>,
): Promise<string[]> {
  const dir = await Deno.makeTempDir({ prefix: "cocos-qmp-test-" });
  const path = `${dir}/qmp.sock`;
  const listener = Deno.listen({ transport: "unix", path });
  const got: string[] = [];
  const serving = (async () => {
    for await (const connection of listener) {
      const send = async (text: string | undefined) => {
        if (text === undefined) return;
        let rest = new TextEncoder().encode(text);
        while (rest.length > 0) rest = rest.subarray(await connection.write(rest));
      };
      try {
        await send(script(undefined));
        const chunk = new Uint8Array(4096);
        for (let count; (count = await connection.read(chunk)) !== null;) {
          for (
            const line of new TextDecoder().decode(chunk.subarray(0, count)).trim().split("\n")
          ) {
            got.push(line);
            const answer = script(line);
            if (answer === "close") throw new Error("as if QEMU ended");
            await send(answer);
          }
        }
      } catch {
        // the client went
      }
      try {
        connection.close();
      } catch {
        // closed above
      }
    }
  })();
  try {
    await test(path);
  } finally {
    listener.close();
    await serving;
    await Deno.remove(dir, { recursive: true });
  }
  return got;
}

const GREETING = `{"QMP": {"version": {}, "capabilities": ["oob"]}}\r\n`;

/** Answers like QEMU does. */
function polite(line: string | undefined): string {
  if (line === undefined) return GREETING;
  const { execute, id } = JSON.parse(line);
  const answers: Record<string, unknown> = {
    "query-uuid": { UUID: "u" },
    "query-name": { name: "cocos-6100" },
    "query-status": { status: "running" },
  };
  if (execute === "fail") {
    return `${JSON.stringify({ id, error: { class: "GenericError", desc: "no" } })}\r\n`;
  }
  return `{"event": "RESET", "data": {"guest": true}}\r\n${
    JSON.stringify({ id, return: answers[execute] ?? {} })
  }\r\n`;
}

Deno.test("Qmp negotiates, executes, tells events, passes QEMU's errors on", async () => {
  const events: string[] = [];
  const got = await withServer(polite, async (path) => {
    await using qmp = await Qmp.connect(path, {
      timeoutMs: 5000,
      events: ({ name }) => events.push(name),
    });
    assert.deepEqual(await identify(qmp), { uuid: "u", name: "cocos-6100", status: "running" });
    await assert.rejects(qmp.execute("fail", { a: "b,c" }), {
      code: "remote",
      message: "QEMU: no",
    });
  });
  assert.equal(got[0], `{"execute":"qmp_capabilities","id":1}`);
  assert.equal(got.at(-1), `{"execute":"fail","arguments":{"a":"b,c"},"id":5}`);
  assert.equal(events.length, 4);
});

Deno.test("Qmp.connect() without a listener is unavailable, with a silent one a timeout", async () => {
  await assert.rejects(Qmp.connect("/nonexistent/qmp.sock", { timeoutMs: 100 }), {
    code: "unavailable",
  });
  await withServer(() => undefined, async (path) => {
    await assert.rejects(Qmp.connect(path, { timeoutMs: 100 }), { code: "timeout" });
  });
});

const RUBBISH: Record<string, string> = {
  "no JSON": "HTTP/1.1 200 OK\n",
  "a number": "7\n",
  "a list": "[]\n",
  "a line without end": "x".repeat(MAX_LINE + 10),
  "a long line": `"${"x".repeat(MAX_LINE + 10)}"\n`,
};
for (const [what, text] of Object.entries(RUBBISH)) {
  Deno.test(`N-8 Qmp.connect() refuses ${what}`, async () => {
    await withServer((line) => line === undefined ? text : undefined, async (path) => {
      await assert.rejects(Qmp.connect(path, { timeoutMs: 5000 }), { code: "data-loss" });
    });
  });
}

Deno.test("Qmp: answers to nobody are ignored, an answer that fails the shape is empty", async () => {
  const odd = (line: string | undefined) => {
    if (line === undefined) return GREETING;
    const { id } = JSON.parse(line);
    return `{"id": 999, "return": 1}\n{"return": 2}\n{"id": ${id}, "return": []}\n`;
  };
  await withServer(odd, async (path) => {
    await using qmp = await Qmp.connect(path, { timeoutMs: 5000 });
    assert.deepEqual(await identify(qmp), { uuid: "", name: "", status: "" });
  });
});

Deno.test("N-6 Qmp: when QEMU goes, what waits fails, closed settles, later calls fail at once", async () => {
  const dying = (line: string | undefined) => line?.includes("quit") ? "close" : polite(line);
  await withServer(dying, async (path) => {
    await using qmp = await Qmp.connect(path, { timeoutMs: 5000 });
    await assert.rejects(qmp.execute("quit"), { code: "unavailable" });
    await qmp.closed;
    await assert.rejects(qmp.execute("query-uuid"), { code: "unavailable" });
  });
});
