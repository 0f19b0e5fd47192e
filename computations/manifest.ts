// The manifest on its way to an agent (wire.md §4.4).
import { create } from "@bufbuild/protobuf";
import type { Computation } from "../agreement/mod.ts";
import { CHUNK_BYTES, cvms } from "../proto/mod.ts";

/** The messages a manifest travels in: pieces of 1 MiB, then one empty with `is_last` (§4.4). */
export function* manifestChunks({ id, manifest }: Computation): Generator<cvms.RunReqChunks> {
  const chunk = (data: Uint8Array, isLast: boolean) =>
    create(cvms.RunReqChunksSchema, { id, data, isLast });
  for (let at = 0; at < manifest.length; at += CHUNK_BYTES) {
    yield chunk(manifest.subarray(at, at + CHUNK_BYTES), false);
  }
  yield chunk(new Uint8Array(), true);
}
