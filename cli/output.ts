// `cocos output`: the last of what the algorithm printed, for those the manifest lets see it. What it
// printed is not trusted: none of it steers the terminal.
import { CocosError } from "../base/mod.ts";
import { OUTPUT_ITEM, PartyService } from "../proto/mod.ts";
import type { Terms } from "./agreement.ts";
import type { Context } from "./context.ts";
import { publicText } from "./match.ts";
import { readKey } from "./peer.ts";
import type { Parsed } from "./program.ts";
import { withAgent } from "./strict.ts";
import { printable } from "./terminal.ts";

/** Prints the output of an invocation's computation. */
export async function output(
  invocation: Parsed & { command: "output" },
  context: Context,
): Promise<void> {
  const key = await readKey(invocation.key);
  const { terminal, signal } = context;
  await withAgent(invocation, key, context, async ({ agreement, party, facts, sign }) => {
    if (!readersOf(agreement.terms).includes(publicText(key))) {
      throw new CocosError(
        "permission-denied",
        "the manifest does not let this key see what the algorithm prints",
        { hint: "`cocos manifest show` says who may." },
      );
    }
    const metadata = await sign(PartyService.method.output, { item: OUTPUT_ITEM });
    const { tail, droppedBytes, running } = await party.output({}, { metadata, signal });
    if (droppedBytes > 0n) terminal.say(`${droppedBytes} bytes before this were not kept`);
    const lines = tail.split("\n").map((line) => printable(line, Infinity)).join("\n").trimEnd();
    terminal.data(lines, { output: tail, dropped_bytes: Number(droppedBytes), running, ...facts });
    if (running) terminal.say("The algorithm still runs; ask again for more.");
  });
}

/** Keys that may see what is printed. */
function readersOf({ algorithm, resultConsumers, logReaders }: Terms): string[] {
  return [
    ...(logReaders.includes("algorithm-provider") ? [algorithm.userKey] : []),
    ...(logReaders.includes("consumers") ? resultConsumers.map(({ userKey }) => userKey) : []),
  ];
}
