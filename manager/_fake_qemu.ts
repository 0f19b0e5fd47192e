// A pretended QEMU for tests: takes the manager's real arguments, binds the forwarded port, speaks
// QMP on the real socket, and misbehaves as its first argument says.

/** How it behaves; `normal` follows every command at once. */
export type Behaviour =
  | "normal"
  | "ignores-powerdown"
  | "ignores-quit"
  | "dies-at-once"
  | "port-taken"
  | "silent"
  /** Answers its first client; all later ones wait in vain. */
  | "stalls-later"
  | "talks-rubbish"
  | "other-uuid"
  | "floods-console";

function option(args: string[], name: string): string {
  return args[args.indexOf(name) + 1] ?? "";
}

async function main(behaviour: Behaviour, args: string[]): Promise<void> {
  const socket = /^unix:(.*),server=on,wait=off$/.exec(option(args, "-qmp"))?.[1]
    ?.replaceAll(",,", ",") as string;
  const forward = /hostfwd=tcp:([\d.]*):(\d+)-/.exec(option(args, "-netdev"));
  const port = Number(forward?.[2]);
  if (behaviour === "dies-at-once") {
    console.error("qemu-system-x86_64: warning: something of no interest");
    console.error("qemu-system-x86_64: -fake: the \x1b[31mreason\x1b[0m is here");
    Deno.exit(1);
  }
  let listener: Deno.Listener;
  try {
    if (behaviour === "port-taken") throw new Error("taken");
    listener = Deno.listen({ hostname: forward?.[1] || "0.0.0.0", port });
  } catch {
    console.error(
      `qemu-system-x86_64: -netdev user: Could not set up host forwarding rule 'tcp::${port}-:7002'`,
    );
    Deno.exit(1);
  }
  control(listener);
  if (behaviour === "floods-console") {
    const line = new TextEncoder().encode(`${"x".repeat(1000)}\x1b[2J\x07\n`);
    for (let n = 0; n < 1000; n++) Deno.stdout.writeSync(line);
  }
  const server = Deno.listen({ transport: "unix", path: socket });
  for await (const connection of server) {
    await talk(connection, behaviour, args, socket);
    if (behaviour === "stalls-later") behaviour = "silent";
  }
}

/** A test tells the pretended guest what to do through its forwarded port. */
async function control(listener: Deno.Listener): Promise<void> {
  for await (const connection of listener) {
    const chunk = new Uint8Array(64);
    const count = await connection.read(chunk);
    const [word, code] = new TextDecoder().decode(chunk.subarray(0, count ?? 0)).split(" ");
    if (word === "exit") {
      console.error(`guest asked to exit ${code}`);
      Deno.exit(Number(code));
    }
    connection.close();
  }
}

/** One client at a time, as QEMU has it. */
async function talk(
  connection: Deno.UnixConn,
  behaviour: Behaviour,
  args: string[],
  socket: string,
): Promise<void> {
  const send = async (value: unknown) => {
    await connection.write(new TextEncoder().encode(`${JSON.stringify(value)}\r\n`));
  };
  const exit = () => {
    try {
      Deno.removeSync(socket);
    } catch {
      // removed with its folder
    }
    Deno.exit(0);
  };
  if (behaviour === "talks-rubbish") {
    await connection.write(new TextEncoder().encode("HTTP/1.1 200 OK\r\n"));
  } else if (behaviour !== "silent") {
    await send({ QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 } }, capabilities: [] } });
  }
  const answers: Record<string, unknown> = {
    "query-uuid": {
      UUID: behaviour === "other-uuid"
        ? "00000000-0000-4000-8000-000000000000"
        : option(args, "-uuid"),
    },
    "query-name": { name: option(args, "-name") },
    "query-status": { status: "running", running: true },
  };
  let text = "";
  try {
    for await (const chunk of connection.readable.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      for (let end; (end = text.indexOf("\n")) >= 0; text = text.slice(end + 1)) {
        const { execute, id } = JSON.parse(text.slice(0, end));
        if (behaviour === "silent" || behaviour === "talks-rubbish") continue;
        await send({ return: answers[execute] ?? {}, id });
        if (execute === "system_powerdown" && behaviour === "normal") {
          await send({ event: "SHUTDOWN", data: { guest: true }, timestamp: {} });
          exit();
        }
        if (execute === "quit" && behaviour !== "ignores-quit") exit();
      }
    }
  } catch {
    // the client went; the next one may come
  }
}

if (import.meta.main) {
  setTimeout(() => Deno.exit(0), 120_000); // a failed test may leave us behind
  const [behaviour, ...args] = Deno.args;
  await main(behaviour as Behaviour, args);
}
