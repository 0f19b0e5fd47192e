// Engines that a test plays: too old, too new, slow, broken, lying. Each must be told apart and leave
// nothing hanging; what the real engine does is tested in docker_test.ts.
import assert from "node:assert/strict";
import { logger } from "../../base/mod.ts";
import { lockBase } from "../_harness.ts";
import type { Job } from "../contract.ts";
import type { Ending, JobGroup } from "../sandbox/mod.ts";
import { savedImage } from "./_image.ts";
import { readOutput } from "./output.ts";
import { inContainer } from "./run.ts";

const PLACE = "/tmp/cocos-runtimes-images";
const SOCKET = `${PLACE}/engine.sock`;
const IMAGE = savedImage({ layers: [[{ path: "run", content: "x" }]], config: { Cmd: ["/run"] } });

/** What an engine says to a call: JSON, a whole answer as bytes, or nothing for ever. */
type Answer = { readonly status?: number; readonly json: unknown } | string | "silence";
/** A call without its version, such as `POST /containers/create`. */
type Table = Readonly<Record<string, Answer | ((body: string) => Answer)>>;

const JOB: Job = {
  id: "job-0123456789abcdef",
  directory: `${PLACE}/job`,
  pythonRuntime: "",
  args: [],
  limits: {
    wallSeconds: 60,
    memoryBytes: 64 << 20,
    processes: 32,
    cpus: 1,
    tmpBytes: 1 << 20,
    outputBytes: 1 << 20,
    resultsBytes: 1 << 20,
    resultsFiles: 100,
  },
  hasRequirements: false,
  mode: "strict",
  site: "",
};
const GROUP: JobGroup = {
  add: () => {},
  kill: () => {},
  populated: () => false,
  members: () => [],
  usage: () => ({ cpuMs: 0, peakBytes: 0, oomKills: 0, forksRefused: 0 }),
  remove: () => {},
};

/** What inspecting the container of a create call shows, as an engine would. */
let asked: Record<string, unknown> = {};
const shown = () => {
  const { Image, HostConfig, ...Config } = asked;
  const mounts = (HostConfig as { Mounts: Record<string, unknown>[] }).Mounts.map((mount) => ({
    Type: "bind",
    Destination: mount["Target"],
    RW: mount["ReadOnly"] === false,
  }));
  return {
    Image,
    HostConfig,
    Config,
    Mounts: mounts,
    State: { Running: false, ExitCode: 0, OOMKilled: false },
  };
};
const FINE: Table = {
  "GET /version": { json: { ApiVersion: "1.41", MinAPIVersion: "1.12" } },
  "GET /info": {
    json: {
      NCPU: 2,
      MemoryLimit: true,
      PidsLimit: true,
      SwapLimit: true,
      CgroupDriver: "cgroupfs",
      SecurityOptions: ["name=seccomp,profile=default", "name=userns"],
    },
  },
  "GET /containers/json": { json: [] },
  "GET /images/json": { json: [] },
  "GET /images/ID/json": { json: { Id: `sha256:${IMAGE.id}`, RepoTags: ["x:y"] } },
  "POST /images/load": { json: { stream: "Loaded image: x:y\n" } },
  "POST /containers/create": (body) => {
    asked = JSON.parse(body);
    return { status: 201, json: { Id: "c", Warnings: [] } };
  },
  "GET /containers/NAME/json": () => ({ json: shown() }),
  "POST /containers/NAME/attach": "HTTP/1.1 200 OK\r\n\r\n\x01\0\0\0\0\0\0\x03out",
  "POST /containers/NAME/wait": { json: { StatusCode: 0 } },
  "POST /containers/NAME/start": { status: 204, json: undefined },
  "DELETE /containers/NAME": { status: 204, json: undefined },
  "DELETE /images/NAME": { json: [] },
};

/** An engine, and the calls it got. */
function engine(table: Table): AsyncDisposable & { readonly calls: string[] } {
  const listener = Deno.listen({ transport: "unix", path: SOCKET });
  const calls: string[] = [];
  const open = new Set<Deno.Conn>();
  const serve = async (conn: Deno.Conn) => {
    let text = "";
    const buffer = new Uint8Array(1 << 16);
    const decoder = new TextDecoder("latin1");
    const whole = () => {
      const head = text.indexOf("\r\n\r\n");
      if (head < 0) return false;
      const length = /content-length: (\d+)/i.exec(text.slice(0, head))?.[1];
      if (/transfer-encoding: chunked/i.test(text.slice(0, head))) {
        return text.endsWith("0\r\n\r\n");
      }
      return text.length >= head + 4 + Number(length ?? 0);
    };
    while (!whole()) {
      const length = await conn.read(buffer);
      if (length === null) return;
      text += decoder.decode(buffer.subarray(0, length));
    }
    const [method, path = ""] = text.split(" ", 2);
    const call = `${method} ${path.replace(/^\/v[\d.]+/, "").replace(/\?.*/, "")}`
      .replace(/sha256:[0-9a-f]{64}/, "ID").replace(/cocos-\w+[:-]job-\w+/, "NAME");
    calls.push(call);
    const found = table[call] ?? FINE[call];
    const body = text.slice(text.indexOf("\r\n\r\n") + 4);
    const answer = typeof found === "function"
      ? found(/transfer-encoding: chunked/i.test(text) ? body.replace(/\r\n?[0-9a-f]*/g, "") : body)
      : found;
    if (answer === "silence") return;
    if (typeof answer === "string") {
      const bytes = Uint8Array.from(answer, (char) => char.charCodeAt(0));
      for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
    } else {
      const { status = 200, json } = answer ?? { status: 404, json: { message: "no such thing" } };
      const content = json === undefined ? "" : JSON.stringify(json);
      const head = `HTTP/1.1 ${status} X\r\ncontent-length: ${content.length}\r\n\r\n`;
      await conn.write(new TextEncoder().encode(head + content));
    }
    open.delete(conn);
    conn.close();
  };
  const served = (async () => {
    for await (const conn of listener) {
      open.add(conn);
      serve(conn).catch(() => {});
    }
  })();
  return {
    calls,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const conn of open) conn.close();
      await served;
    },
  };
}

/** Runs the job with an engine; how it ended, or the error. */
async function run(
  table: Table,
  killAfter?: number,
): Promise<{ end: Ending | string; output: string; calls: string[] }> {
  await Deno.mkdir(`${JOB.directory}/results`, { recursive: true });
  await Deno.writeFile(`${JOB.directory}/algo`, IMAGE.bytes);
  let output = "";
  await using played = engine(table);
  const run = inContainer(JOB, { socket: SOCKET, cgroup: "/cocos", owner: "test" })({
    group: GROUP,
    kill: () => Promise.resolve(),
    log: logger("test"),
    onOutput: (stream, bytes) => {
      output += `${stream}: ${new TextDecoder().decode(bytes)}`;
      return "go-on";
    },
  });
  const timer = killAfter === undefined ? undefined : setTimeout(() => run.kill(), killAfter);
  try {
    return { end: await run.ended, output, calls: played.calls };
  } catch (error) {
    return { end: (error as Error).message, output, calls: played.calls };
  } finally {
    clearTimeout(timer);
    await Deno.remove(JOB.directory, { recursive: true });
  }
}

/** A table where the container shown after its creation differs. */
const made = (change: (made: ReturnType<typeof shown>) => unknown): Table => ({
  "GET /containers/NAME/json": () => ({ json: change(shown()) }),
});

const CASES: [name: string, table: Table, end: RegExp][] = [
  [
    "too old",
    { "GET /version": { json: { ApiVersion: "1.40", MinAPIVersion: "1.12" } } },
    /speaks API 1.12 to 1.40, this runner 1.41/,
  ],
  [
    "too new",
    { "GET /version": { json: { ApiVersion: "9.9", MinAPIVersion: "9.1" } } },
    /speaks API 9.1 to 9.9/,
  ],
  [
    "of no version",
    { "GET /version": { json: { ApiVersion: "new" } } },
    /makes no sense: its version/,
  ],
  [
    "of another kind",
    { "GET /version": "HTTP/1.1 200 OK\r\n\r\n<html>hello</html>" },
    /makes no sense: JSON when asked to tell its version/,
  ],
  ["no HTTP", { "GET /version": "SSH-2.0-x\r\n" }, /can't be asked to tell its version/],
  ["endless", { "GET /info": `HTTP/1.1 200 OK\r\n\r\n${"x".repeat(5 << 20)}` }, /endless answer/],
  [
    "cut off",
    { "GET /info": "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{" },
    /went away when asked to describe itself/,
  ],
  [
    "failing",
    { "GET /info": { status: 500, json: { message: "a\u001b[31m\nb" } } },
    /can't describe itself: a \[31m b$/,
  ],
  [
    "without filters",
    { "GET /info": { json: { NCPU: 1, MemoryLimit: true, PidsLimit: true } } },
    /isn't fit: it lacks filters for system calls/,
  ],
  ["without memory limits", {
    "GET /info": { json: { NCPU: 1, PidsLimit: true, SecurityOptions: ["name=seccomp"] } },
  }, /lacks memory limits/],
  ["without process limits", {
    "GET /info": { json: { NCPU: 1, MemoryLimit: true, SecurityOptions: ["name=seccomp"] } },
  }, /lacks limits for processes/],
  ["without swap limits, and groups of another kind", {
    "GET /info": {
      json: {
        NCPU: 1,
        MemoryLimit: true,
        PidsLimit: true,
        CgroupDriver: "systemd",
        SecurityOptions: ["name=seccomp"],
      },
    },
  }, /lacks limits for swap/],
  ["rootless", {
    "GET /info": {
      json: {
        NCPU: 1,
        MemoryLimit: true,
        SwapLimit: true,
        PidsLimit: true,
        SecurityOptions: ["name=seccomp", "name=rootless"],
      },
    },
  }, /user of its own/],
  ["that can't take the image", {
    "POST /images/load": { json: { error: "write /x: no space left on device" } },
  }, /can't take the image: write \/x: no space left/],
  ["that takes another image", {
    "GET /images/ID/json": { json: { Id: `sha256:${"0".repeat(64)}`, RepoTags: ["a:b"] } },
  }, /another image than it was asked for/],
  [
    "that loses the image",
    { "GET /images/ID/json": { status: 404, json: { message: "gone" } } },
    /can't find what it took: gone/,
  ],
  ["with the name in use", {
    "POST /containers/create": { status: 409, json: { message: "Conflict" } },
  }, /can't make a container: Conflict/],
  [
    "that makes it privileged",
    made((c) => ({ ...c, HostConfig: { ...c.HostConfig as object, Privileged: true } })),
    /another container: HostConfig.Privileged/,
  ],
  [
    "that forgets the network",
    made((c) => ({ ...c, HostConfig: { ...c.HostConfig as object, NetworkMode: "default" } })),
    /HostConfig.NetworkMode/,
  ],
  [
    "that forgets a security option",
    made((c) => ({ ...c, HostConfig: { ...c.HostConfig as object, SecurityOpt: null } })),
    /HostConfig.SecurityOpt/,
  ],
  [
    "that adds capabilities",
    made((c) => ({ ...c, HostConfig: { ...c.HostConfig as object, CapAdd: ["SYS_ADMIN"] } })),
    /CapAdd/,
  ],
  [
    "that adds a device",
    made((c) => ({ ...c, HostConfig: { ...c.HostConfig as object, Devices: [{}] } })),
    /Devices/,
  ],
  ["that runs as root", made((c) => ({ ...c, Config: { ...c.Config, User: "" } })), /Config.User/],
  [
    "that keeps the health check",
    made((c) => ({ ...c, Config: { ...c.Config, Healthcheck: null } })),
    /Config.Healthcheck/,
  ],
  [
    "that adds a variable",
    made((c) => ({ ...c, Config: { ...c.Config, Env: [...c.Config["Env"] as string[], "A=1"] } })),
    /Config.Env/,
  ],
  [
    "that adds a volume",
    made((c) => ({ ...c, Mounts: [...c.Mounts, { Type: "volume", Destination: "/v", RW: true }] })),
    /Mounts are .*volume/,
  ],
  [
    "that lets datasets be written",
    made((c) => ({ ...c, Mounts: c.Mounts.map((m) => ({ ...m, RW: true })) })),
    /Mounts are/,
  ],
  [
    "that makes it of another image",
    made((c) => ({ ...c, Image: "sha256:1" })),
    /another container: Image/,
  ],
  ["that shows nothing", made(() => null), /makes no sense: a container/],
  ["that stops telling", {
    "POST /containers/NAME/wait": "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
  }, /went away during the run/],
  ["that tells nothing", {
    "POST /containers/NAME/wait": "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
  }, /went away during the run/],
  [
    "that says it still runs",
    made((c) => ({ ...c, State: { Running: true, ExitCode: 0 } })),
    /makes no sense: the end of a container/,
  ],
  [
    "with no exit code",
    made((c) => ({ ...c, State: {} })),
    /makes no sense: the end of a container/,
  ],
  ["that lists nonsense", { "GET /containers/json": { json: {} } }, /makes no sense: a list/],
];

Deno.test("inContainer() S-16 S-19 tells every kind of broken engine, and leaves nothing open", async () => {
  using _lock = await lockBase();
  const wrong: string[] = [];
  for (const [name, table, end] of CASES) {
    const told = (await run(table)).end;
    if (typeof told !== "string" || !end.test(told)) wrong.push(`${name}: ${JSON.stringify(told)}`);
  }
  assert.deepEqual(wrong, []);
  assert.match(
    String((await absent()).end),
    /can't be asked to tell its version: .*(ENOENT|os error 2)/,
  );
});

/** The same without any engine. */
async function absent(): Promise<{ end: unknown }> {
  await Deno.mkdir(`${JOB.directory}/results`, { recursive: true });
  await Deno.writeFile(`${JOB.directory}/algo`, IMAGE.bytes);
  const run = inContainer(JOB, { socket: SOCKET, cgroup: undefined, owner: "test" })({
    group: GROUP,
    kill: () => Promise.resolve(),
    log: logger("test"),
    onOutput: () => "go-on",
  });
  try {
    return { end: await run.ended };
  } catch (error) {
    return { end: (error as Error).message };
  } finally {
    await Deno.remove(JOB.directory, { recursive: true });
  }
}

Deno.test("inContainer() ends well with an engine that works, and removes what it made", async () => {
  using _lock = await lockBase();
  const { end, output, calls } = await run({});
  assert.deepEqual(end, { kind: "exit", code: 0, oom: false });
  assert.equal(output, "stdout: out");
  assert.deepEqual(calls.slice(-2), ["DELETE /containers/NAME", "DELETE /images/NAME"]);
  const refused = await run({
    "POST /containers/NAME/start": { status: 400, json: { message: "no such file" } },
  });
  assert.deepEqual(refused.end, {
    kind: "not-started",
    reason: "The container engine can't start the algorithm: no such file",
  });
  assert.deepEqual(refused.calls.slice(-2), ["DELETE /containers/NAME", "DELETE /images/NAME"]);
});

Deno.test("inContainer() S-9 S-16 ends although the engine answers no more, at any call", async () => {
  using _lock = await lockBase();
  const calls = Object.keys(FINE).filter((call) => !call.startsWith("DELETE"));
  const ends = await (async () => {
    const found: string[] = [];
    for (const call of calls) {
      const started = performance.now();
      const { end } = await run({ [call]: "silence" }, 100);
      const ms = performance.now() - started;
      // Output that stays open is not waited for when the container has ended.
      const kind = typeof end === "string" ? end : end.kind;
      if (!(kind === "killed" || kind === "exit") || ms > 10_000) {
        found.push(`${call}: ${kind} ${ms}`);
      }
    }
    return found;
  })();
  assert.deepEqual(ends, []);
});

Deno.test("inContainer() S-8 S-9 tells no ending of a run that an engine lets live", async () => {
  using _lock = await lockBase();
  const { json } = FINE["GET /info"] as { json: Record<string, unknown> };
  const stays: Table = {
    // It puts containers in groups of its own.
    "GET /info": { json: { ...json, CgroupDriver: "systemd" } },
    "POST /containers/NAME/wait": "silence",
    "DELETE /containers/NAME": { status: 500, json: { message: "device busy" } },
  };
  const { end } = await run(stays, 100);
  assert.match(JSON.stringify(end), /^"Cannot end the run: the container engine does not end it/);
});

Deno.test("readOutput() cuts frames anywhere and refuses what is none", async () => {
  const bytes = Uint8Array.from(
    "\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x01e\x01\0\0\0\0\0\0\0",
    (c) => c.charCodeAt(0),
  );
  for (let size = 1; size <= bytes.length; size++) {
    const seen = { stdout: "", stderr: "" };
    await readOutput(
      (async function* () {
        for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
      })(),
      (stream, piece) => {
        seen[stream] += new TextDecoder().decode(piece);
        return size % 2 === 0 ? "go-on" : "slow-down";
      },
    );
    assert.deepEqual(seen, { stdout: "out", stderr: "e" });
  }
  await assert.rejects(
    readOutput(
      (async function* () {
        yield new Uint8Array(8).fill(9);
      })(),
      () => "go-on",
    ),
    { code: "remote" },
  );
});
