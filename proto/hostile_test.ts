// What raw HTTP/2 frames can do to the front door (threats G-6, G-8, G-11): nothing to anybody
// else. The server is a process of its own, so that an uncaught exception shows as its death.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import http2 from "node:http2";
import net from "node:net";
import { gzipSync } from "node:zlib";
import { checkHealth } from "./mod.ts";

const HOST = "127.0.0.1";
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8;
const GOAWAY = 7, CONTINUATION = 9;
const END_STREAM = 1, END_HEADERS = 4;

/** One HTTP/2 frame (RFC 9113 §4.1). */
function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** HPACK literals without indexing (RFC 7541 §6.2.2), names and values under 127 bytes or long. */
function headers(fields: Record<string, string>): Buffer {
  const text = (value: string) => {
    const bytes = Buffer.from(value);
    if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
    const length = [127];
    let rest = bytes.length - 127;
    for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
    length.push(rest);
    return Buffer.concat([Buffer.from(length), bytes]);
  };
  return Buffer.concat(
    Object.entries(fields).flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]),
  );
}

function request(path: string, more: Record<string, string> = {}): Buffer {
  return headers({
    ":method": "POST",
    ":scheme": "http",
    ":path": path,
    ":authority": "a",
    "content-type": "application/grpc",
    te: "trailers",
    ...more,
  });
}

/** The server process and what is measured of it. */
async function victim() {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--quiet",
      "--cached-only",
      "--no-check",
      "--ignore-env",
      `--allow-net=${HOST}:0`,
      new URL("./testdata/server.ts", import.meta.url).pathname,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let ended = false;
  child.status.then(() => ended = true);
  const stderr = new Response(child.stderr).text();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const port = Number((await reader.read()).value);
  return {
    port,
    async rss(): Promise<number> {
      const { stdout } = await new Deno.Command("ps", {
        args: ["-o", "rss=", "-p", String(child.pid)],
      }).output();
      return Number(new TextDecoder().decode(stdout)) * 1024;
    },
    async assertServing(what: string): Promise<void> {
      const target = { host: HOST, port };
      const serving = await checkHealth({
        target,
        security: { kind: "none" },
        service: "agent",
        timeoutMs: 60_000,
      });
      if (!serving) await Promise.race([child.status, new Promise((r) => setTimeout(r, 1_000))]);
      assert.equal(ended, false, `${what}: the process has ended\n${ended ? await stderr : ""}`);
      assert.equal(serving, true, `${what}: an honest client is not served`);
    },
    async [Symbol.asyncDispose]() {
      if (!ended) child.kill("SIGKILL");
      await child.status;
      await reader.cancel();
      await stderr;
    },
  };
}

/** Connects, sends the preface and settings, then what `attack` writes; ends when the server does
 * or after `patience` ms. Returns what the server sent, and whether it was the server that ended. */
async function raw(
  port: number,
  attack: (write: (bytes: Buffer) => Promise<void>) => Promise<void>,
  patience = 2_000,
): Promise<{ said: Buffer; ended: boolean }> {
  const socket = net.connect(port, HOST);
  const chunks: Buffer[] = [];
  let open = true;
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  closed.then(() => open = false);
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => {
    if (chunks.length < 1_000) chunks.push(chunk);
  });
  await new Promise((resolve) => socket.once("connect", resolve));
  const write = async (bytes: Buffer) => {
    if (open && !socket.write(bytes)) {
      await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), closed]);
    }
  };
  await write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0)]));
  await attack(write);
  let ended = true;
  const timer = setTimeout(() => {
    ended = false;
    socket.destroy();
  }, patience);
  await closed;
  clearTimeout(timer);
  return { said: Buffer.concat(chunks), ended };
}

const ALGO = "/agent.AgentService/Algo";

/** Frames of `count` requests on odd stream ids, made by `each`. */
function many(count: number, each: (stream: number) => Buffer[]) {
  return async (write: (bytes: Buffer) => Promise<void>) => {
    for (let i = 0; i < count; i += 100) {
      const batch: Buffer[] = [];
      for (let j = i; j < Math.min(i + 100, count); j++) batch.push(...each(2 * j + 1));
      await write(Buffer.concat(batch));
    }
  };
}

const FLOODS: [string, (write: (bytes: Buffer) => Promise<void>) => Promise<void>][] = [
  [
    "streams to an unknown path",
    many(2_000, (id) => [frame(HEADERS, END_HEADERS, id, request("/x/y"))]),
  ],
  [
    "streams to an unknown path, each reset at once",
    many(2_000, (id) => [
      frame(HEADERS, END_HEADERS, id, request("/x/y")),
      frame(RST_STREAM, 0, id, Buffer.from([0, 0, 0, 8])),
    ]),
  ],
  [
    "streams with another content type",
    many(2_000, (id) => [
      frame(HEADERS, END_HEADERS, id, request(ALGO, { "content-type": "text/html" })),
    ]),
  ],
  [
    "streams to a known path",
    many(1_000, (id) => [frame(HEADERS, END_HEADERS, id, request(ALGO))]),
  ],
  [
    "rapid reset",
    many(20_000, (id) => [
      frame(HEADERS, END_HEADERS, id, request(ALGO)),
      frame(RST_STREAM, 0, id, Buffer.from([0, 0, 0, 8])),
    ]),
  ],
  [
    "streams that end at once",
    many(2_000, (id) => [frame(HEADERS, END_HEADERS | END_STREAM, id, request(ALGO))]),
  ],
  ["SETTINGS", many(100_000, () => [frame(SETTINGS, 0, 0)])],
  ["PING", many(100_000, () => [frame(PING, 0, 0, Buffer.alloc(8))])],
  [
    "CONTINUATION without end",
    async (write) => {
      await write(frame(HEADERS, 0, 1, request(ALGO)));
      const part = frame(CONTINUATION, 0, 1, headers({ "x-a": "b".repeat(8_000) }));
      for (let i = 0; i < 5_000; i++) await write(part);
    },
  ],
  [
    "a header list of 1 MiB",
    async (write) => {
      const list = request(
        ALGO,
        Object.fromEntries(
          Array.from({ length: 128 }, (_, i) => [`x-${i}`, "v".repeat(8_192)]),
        ),
      );
      await write(frame(HEADERS, 0, 1, list.subarray(0, 16_000)));
      for (let at = 16_000; at < list.length; at += 16_000) {
        const last = at + 16_000 >= list.length;
        await write(frame(CONTINUATION, last ? END_HEADERS : 0, 1, list.subarray(at, at + 16_000)));
      }
    },
  ],
  [
    "WINDOW_UPDATE of nothing and past the limit",
    async (write) => {
      await write(frame(HEADERS, END_HEADERS, 1, request(ALGO)));
      const most = Buffer.from([0x7f, 0xff, 0xff, 0xff]);
      await write(frame(WINDOW_UPDATE, 0, 1, most));
      await write(frame(WINDOW_UPDATE, 0, 1, most));
      await write(frame(WINDOW_UPDATE, 0, 0, Buffer.alloc(4)));
      await write(frame(WINDOW_UPDATE, 0, 99, most));
    },
  ],
  [
    "frames on a closed stream, and a broken header block",
    async (write) => {
      await write(frame(HEADERS, END_HEADERS | END_STREAM, 1, request("/x/y")));
      for (let i = 0; i < 200; i++) await write(frame(DATA, 0, 1, Buffer.alloc(100)));
      await write(frame(HEADERS, END_HEADERS, 3, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff])));
    },
  ],
  [
    "bytes that are no frames",
    async (write) => {
      for (let i = 0; i < 64; i++) {
        await write(Buffer.from(crypto.getRandomValues(new Uint8Array(16_384))));
      }
    },
  ],
];

Deno.test("G-11 floods of raw frames hurt nobody else and end no process", async (t) => {
  await using server = await victim();
  await server.assertServing("before");
  const before = await server.rss();
  for (const [name, attack] of FLOODS) {
    await t.step(name, async () => {
      await raw(server.port, attack);
      await server.assertServing(name);
      const growth = (await server.rss()) - before;
      assert.ok(growth < 160 << 20, `${name}: the process grew by ${growth >> 20} MiB`);
    });
  }
});

/** Frames of a recording: type, stream and payload. */
function framesOf(bytes: Buffer): { type: number; stream: number; payload: Buffer }[] {
  const frames: { type: number; stream: number; payload: Buffer }[] = [];
  for (let at = 0; at + 9 <= bytes.length;) {
    const length = bytes.readUIntBE(at, 3);
    const payload = bytes.subarray(at + 9, at + 9 + length);
    frames.push({ type: bytes[at + 3] as number, stream: bytes.readUInt32BE(at + 5), payload });
    at += 9 + length;
  }
  return frames;
}

/** An error code of RFC 9113 §7. */
const PROTOCOL_ERROR = 1;

Deno.test("G-11 who opens streams faster than any honest peer loses the connection", async () => {
  await using server = await victim();
  await server.assertServing("before");
  const session = http2.connect(`http://${HOST}:${server.port}`);
  session.on("error", () => {});
  const closed = new Promise<void>((resolve) => session.once("close", () => resolve()));
  let answered = 0;
  const one = () =>
    new Promise<void>((resolve) => {
      if (session.closed || session.destroyed) return resolve();
      const stream = session.request({
        ":method": "POST",
        ":path": ALGO,
        "content-type": "application/grpc",
        te: "trailers",
      });
      stream.on("response", () => answered++);
      stream.on("error", () => {});
      stream.on("close", () => resolve());
      stream.resume();
      stream.end();
    });
  for (let sent = 0; sent < 20_000 && !session.destroyed; sent += 50) {
    await Promise.all(Array.from({ length: 50 }, one));
  }
  assert.ok(session.destroyed, `${answered} calls were answered`);
  await closed;
  await server.assertServing("after");
});

Deno.test("G-11 a connection that opens a 65th stream is ended", async () => {
  await using server = await victim();
  await server.assertServing("before");
  const { said } = await raw(server.port, async (write) => {
    // Acknowledged first: until then a peer need not know the server's limit.
    await write(frame(SETTINGS, 1, 0));
    await many(200, (id) => [frame(HEADERS, END_HEADERS, id, request(ALGO))])(write);
  });
  const away = framesOf(said).filter(({ type }) => type === GOAWAY);
  // The last stream that was taken, and why.
  assert.deepEqual(
    away.map(({ payload }) => [payload.readUInt32BE(0), payload.readUInt32BE(4)]),
    [[2 * 64 - 1, PROTOCOL_ERROR]],
  );
  await server.assertServing("after");
});

Deno.test("G-11 a call's header list has at most 16 KiB", async () => {
  await using server = await victim();
  await server.assertServing("before");
  /** Whether a call with so many bytes of headers is answered with a gRPC status. */
  const answered = async (bytes: number) => {
    const fields = Object.fromEntries(
      Array.from({ length: bytes / 1_000 }, (_, i) => [`x-${i}`, "v".repeat(960)]),
    );
    const list = request(ALGO, fields);
    const { said } = await raw(server.port, async (write) => {
      await write(frame(HEADERS, END_STREAM, 1, list.subarray(0, 16_000)));
      await write(frame(CONTINUATION, END_HEADERS, 1, list.subarray(16_000)));
    });
    return framesOf(said).some(({ type, stream }) => type === HEADERS && stream === 1);
  };
  assert.equal(await answered(12_000), true);
  assert.equal(await answered(24_000), false);
  await server.assertServing("after");
});

/** A message with its gRPC prefix. */
function message(length: number, payload: Buffer, compressed = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = compressed;
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, payload]);
}

/** Sends these bytes as one `Algo` call by Node's client; gives the status, or how it was closed. */
function status(
  port: number,
  bytes: Buffer,
  more: Record<string, string> = {},
): Promise<number | string> {
  const session = http2.connect(`http://${HOST}:${port}`);
  session.on("error", () => {});
  const stream = session.request({
    ":method": "POST",
    ":path": ALGO,
    "content-type": "application/grpc",
    te: "trailers",
    ...more,
  });
  const { promise, resolve } = Promise.withResolvers<number | string>();
  const look = (headers: http2.IncomingHttpHeaders) => {
    if (headers["grpc-status"] !== undefined) resolve(Number(headers["grpc-status"]));
  };
  stream.on("response", look);
  stream.on("trailers", look);
  stream.on("error", () => {});
  stream.on("close", () => resolve("closed without a status"));
  stream.resume();
  stream.end(bytes);
  return promise.finally(() => session.destroy());
}

/** Length of an `AlgoRequest` whose algorithm makes the message exactly `length` bytes long. */
function algorithm(length: number): Buffer {
  const message = Buffer.alloc(length);
  const inner = length - 5; // tag, and a length of four bytes
  message.set([
    0x0a,
    inner & 127 | 128,
    inner >> 7 & 127 | 128,
    inner >> 14 & 127 | 128,
    inner >> 21,
  ]);
  return message;
}

Deno.test("G-6 lying lengths, bombs and giant messages are refused by number, without memory", async (t) => {
  await using server = await victim();
  await server.assertServing("before");
  const before = await server.rss();
  const bomb = gzipSync(new Uint8Array(1 << 30));
  const gzip = { "grpc-encoding": "gzip" };
  const most = 4 << 20;
  const cases: [string, () => Promise<number | string>, number | string][] = [
    ["4 MiB", () => status(server.port, message(most, algorithm(most))), 0],
    ["4 MiB and a byte", () => status(server.port, message(most + 1, algorithm(most + 1))), 8],
    [
      "0xffffffff with 100 bytes",
      () => status(server.port, message(0xffffffff, Buffer.alloc(100))),
      8,
    ],
    ["a gigabyte in gzip", () => status(server.port, message(bomb.length, bomb, 1), gzip), 8],
    [
      "one frame of 15 MiB",
      async () => {
        // A frame above SETTINGS_MAX_FRAME_SIZE ends the connection (RFC 9113 §4.2).
        const { ended } = await raw(server.port, async (write) => {
          await write(frame(HEADERS, END_HEADERS, 1, request(ALGO)));
          await write(frame(DATA, 0, 1, Buffer.alloc(15 << 20)));
        }, 60_000);
        return ended ? "ended" : "open";
      },
      "ended",
    ],
  ];
  for (const [name, attack, wanted] of cases) {
    await t.step(name, async () => {
      let most = 0;
      let over = false;
      const watched = (async () => {
        while (!over) most = Math.max(most, await server.rss());
      })();
      const ended = await attack().finally(() => over = true);
      await watched;
      assert.equal(ended, wanted);
      await server.assertServing(name);
      const growth = most - before;
      assert.ok(growth < 96 << 20, `${name}: the process grew by ${growth >> 20} MiB`);
    });
  }
});

/** Uploads `messages` of 1 MiB and says goodbye as a polite HTTP/2 client does: with GOAWAY. */
function politeUpload(port: number, messages: number): Promise<void> {
  const session = http2.connect(`http://${HOST}:${port}`);
  const closed = new Promise<void>((resolve) => session.once("close", () => resolve()));
  session.on("error", () => {});
  const stream = session.request({
    ":method": "POST",
    ":path": ALGO,
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => session.destroy());
  stream.on("end", () => session.close());
  stream.resume();
  // AlgoRequest{algorithm}: tag 0x0a, length 2^20 as a varint.
  const chunk = message(
    (1 << 20) + 4,
    Buffer.concat([
      Buffer.from([0x0a, 0x80, 0x80, 0x40]),
      Buffer.alloc(1 << 20),
    ]),
  );
  let sent = 0;
  const next = () => {
    if (sent++ === messages) stream.end();
    else stream.write(chunk, next);
  };
  next();
  return closed;
}

Deno.test("G-11 GOAWAY after a large upload, which aborts Deno's own HTTP/2, ends nothing here", async () => {
  await using server = await victim();
  for (let round = 0; round < 4; round++) {
    await Promise.all([politeUpload(server.port, 100), politeUpload(server.port, 100)]);
  }
  await server.assertServing("after polite uploads");
});

Deno.test("G-8 connections beyond the limit are closed, those that finish are served", async () => {
  await using server = await victim();
  await server.assertServing("before");
  const idle = Array.from({ length: 400 }, () => {
    const socket = net.connect(server.port, HOST);
    socket.on("error", () => {});
    return socket;
  });
  const over = await Promise.race(
    idle.map((socket) => new Promise((resolve) => socket.once("close", () => resolve("closed")))),
  );
  assert.equal(over, "closed");
  for (const socket of idle) socket.destroy();
  await Promise.all(
    idle.map((socket) => socket.closed || new Promise((resolve) => socket.once("close", resolve))),
  );
  await server.assertServing("after");
});
