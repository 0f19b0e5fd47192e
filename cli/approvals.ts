// What this person approved, and which agents' keys were seen: files under ~/.cocos/computations, for
// their owner only. A manifest is kept whole, so that a change can be named later.
import { CocosError, messageOf, type Source } from "../base/mod.ts";
import type { Agreement } from "./agreement.ts";

/** Folder of the store; nothing without a usable HOME. */
export function approvalsFolder(env: Source): string | undefined {
  const home = env("HOME") ?? "";
  // deno-lint-ignore no-control-regex
  if (!home.startsWith("/") || /[,\x00-\x1f]/.test(home)) return undefined;
  return `${home.replace(/\/+$/, "")}/.cocos/computations`;
}

/** Approved manifests and pinned keys by computation id, which is a UUID. */
export class Approvals {
  readonly #folder: string | undefined;

  constructor(env: Source) {
    this.#folder = approvalsFolder(env);
  }

  /** Whether anything can be kept. */
  get keeps(): boolean {
    return this.#folder !== undefined;
  }

  /** Canonical text of the approved manifest of a computation. */
  async approved(id: string): Promise<string | undefined> {
    return await this.#read(`${id}.manifest`);
  }

  /** Approves a manifest instead of any earlier one of this id, and forgets the agent's key. */
  async approve({ terms: { id }, text }: Agreement): Promise<void> {
    await this.#write(`${id}.manifest`, text);
    await Deno.remove(this.#path(`${id}.key`)).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw this.#failed(error);
    });
  }

  /** Key of the agent that was seen first for a manifest, hexadecimal. */
  async pinned({ terms: { id }, digest }: Agreement): Promise<string | undefined> {
    const [manifest, key] = (await this.#read(`${id}.key`))?.trim().split(" ") ?? [];
    return manifest === digest ? key : undefined;
  }

  /** Keeps a key as the agent's. */
  async pin({ terms: { id }, digest }: Agreement, key: string): Promise<void> {
    await this.#write(`${id}.key`, `${digest} ${key}\n`);
  }

  #path(name: string): string {
    if (this.#folder === undefined) {
      throw new CocosError("invalid-config", "Cannot keep what is approved: HOME is not set", {
        hint: "Set HOME to your folder, or give --manifest FILE and --pin each time.",
      });
    }
    return `${this.#folder}/${name}`;
  }

  async #read(name: string): Promise<string | undefined> {
    if (this.#folder === undefined) return undefined;
    try {
      await this.#checkClosed();
      return await Deno.readTextFile(this.#path(name));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error instanceof CocosError ? error : this.#failed(error);
    }
  }

  /** Whoever can write here can approve in this person's place. */
  async #checkClosed(): Promise<void> {
    const { mode } = await Deno.stat(this.#folder as string);
    if (((mode ?? 0) & 0o022) === 0) return;
    throw new CocosError(
      "untrusted",
      `Cannot use the approvals in ${JSON.stringify(this.#folder)}: others may write there`,
      { hint: `Look who wrote what, then: chmod go-w ${this.#folder}` },
    );
  }

  /** Writes beside, brings it to the disk, then takes the name: a crash leaves the old or the new. */
  async #write(name: string, text: string): Promise<void> {
    const path = this.#path(name);
    const part = `${path}.${crypto.randomUUID()}`;
    try {
      await Deno.mkdir(this.#folder as string, { recursive: true, mode: 0o700 });
      await this.#checkClosed();
      try {
        using file = await Deno.open(part, { write: true, createNew: true, mode: 0o600 });
        const bytes = new TextEncoder().encode(text);
        for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
        await file.sync();
        await Deno.rename(part, path);
      } catch (error) {
        await Deno.remove(part).catch(() => {});
        throw error;
      }
    } catch (error) {
      throw error instanceof CocosError ? error : this.#failed(error);
    }
  }

  #failed(cause: unknown): CocosError {
    return new CocosError(
      "io",
      `Cannot use the approvals in ${JSON.stringify(this.#folder)}: ${messageOf(cause)}`,
      { cause, hint: "The folder must be yours to read and write." },
    );
  }
}
