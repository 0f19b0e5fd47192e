// Entrance of `cocos`, the command people type. The agent, the manager and the terminal's input are
// not trusted.
import { processTerminal } from "./terminal.ts";
import { run } from "./run.ts";

const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => interrupt.abort());
}

Deno.exit(
  await run({
    argv: Deno.args,
    env: (name) => Deno.env.get(name),
    signal: interrupt.signal,
    terminal: (json) => processTerminal(json, Deno.env.get("NO_COLOR")),
  }),
);
