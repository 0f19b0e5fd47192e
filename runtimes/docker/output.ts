// The two streams of a container, cut out of the one the engine sends: frames of a type, three zeros
// and a length of four bytes (Docker Engine API, "Stream format").
import type { OutputSink } from "../sandbox/mod.ts";
import { strange } from "./engine.ts";

/** Bytes of a frame's head. */
const HEAD = 8;
/** Time a reader rests when it is told to slow down. */
const REST_MS = 2;

/** Passes frames on until the stream ends, however long a frame says it is. */
export async function readOutput(
  stream: AsyncIterable<Uint8Array>,
  sink: OutputSink,
): Promise<void> {
  const head = new Uint8Array(HEAD);
  let held = 0;
  let left = 0;
  for await (const chunk of stream) {
    let calm = true;
    for (let at = 0; at < chunk.length;) {
      if (left > 0) {
        const piece = chunk.subarray(at, at + left);
        left -= piece.length;
        at += piece.length;
        if (sink(head[0] === 2 ? "stderr" : "stdout", piece) === "slow-down") calm = false;
        continue;
      }
      const part = chunk.subarray(at, at + HEAD - held);
      head.set(part, held);
      held += part.length;
      at += part.length;
      if (held < HEAD) break;
      held = 0;
      if ((head[0] as number) > 2 || head[1] !== 0) throw strange("a frame of output");
      left = new DataView(head.buffer).getUint32(4);
    }
    if (!calm) await new Promise((resolve) => setTimeout(resolve, REST_MS));
  }
}
