// Files the commands write: whole or not at all, by way of a draft beside them.
import { Draft } from "../draft.ts";

/** Writes a file; `force` replaces what has the name. */
export async function writeFile(
  path: string,
  content: string | Uint8Array,
  force: boolean,
  mode = 0o644,
): Promise<void> {
  await using draft = await Draft.open(path, { mode, force });
  await draft.write(typeof content === "string" ? new TextEncoder().encode(content) : content);
  await draft.commit();
}
