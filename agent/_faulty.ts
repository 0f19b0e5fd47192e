// The agent with faults that a test sets off by signals: an exception nobody catches, a rejection
// nobody handles, and memory that never ends (threats C-4, C-5).
import { main } from "./main.ts";

if (import.meta.main) {
  Deno.addSignalListener("SIGUSR1", () => {
    throw new Error("injected exception");
  });
  Deno.addSignalListener("SIGUSR2", () => void Promise.reject(new Error("injected rejection")));
  Deno.addSignalListener("SIGHUP", () => {
    const held: string[][] = [];
    while (true) held.push(Array.from({ length: 100_000 }, (_, i) => `${i} ${held.length}`));
  });
  Deno.exit(await main(Deno.args));
}
