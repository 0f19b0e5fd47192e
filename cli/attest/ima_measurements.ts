// `cocos ima-measurements`: the Linux measurement list, replayed against PCR 10. The value the agent
// sends is its own word; only a quote binds it, which `attestation validate --ima` checks.
import { CocosError, Exit } from "../../base/mod.ts";
import { type Bank, coverageOf, type ImaEntry, parseImaList } from "../../attestation/mod.ts";
import type { Context } from "../context.ts";
import { Draft } from "../draft.ts";
import { withPeer } from "../peer.ts";
import { readBytes } from "./files.ts";
import type { AttestInvocation } from "./invocation.ts";
import { usage } from "./values.ts";

const MAX_LIST_BYTES = 256 * 1024 * 1024;
const BANKS: Readonly<Record<number, Bank>> = { 20: "sha1", 32: "sha256", 48: "sha384" };

/** Fetches and replays a list, or replays one that is there. */
export async function imaMeasurements(
  invocation: AttestInvocation & { command: "ima-measurements" },
  context: Context,
): Promise<Exit> {
  const { file, pcr10 } = invocation;
  const { terminal } = context;
  let value: Uint8Array;
  if (pcr10 === undefined) {
    terminal.say("Retrieving computation Linux IMA measurements file", { before: "⏳" });
    value = await fetchList(invocation, context);
    terminal.success(
      `Linux IMA measurements file retrieved and saved successfully as ${file}! ` +
        `PCR10 = ${value.toHex()}`,
      { after: "✔" },
    );
    terminal.say(
      "note: this PCR 10 is the agent's word; `attestation validate --ima` compares a signed one",
    );
  } else {
    if (!/^(?:[0-9a-fA-F]{2})*$/.test(pcr10)) throw usage("pcr10 must be hexadecimal");
    value = Uint8Array.fromHex(pcr10);
  }
  return conclude(await readBytes(file, MAX_LIST_BYTES), value, context);
}

function conclude(list: Uint8Array, value: Uint8Array, { terminal }: Context): Exit {
  const bank = BANKS[value.length];
  if (bank === undefined) throw usage("pcr10 must be 20, 32 or 48 bytes");
  let entries: readonly ImaEntry[] = [];
  let fault: string | undefined;
  let covered: number | undefined;
  try {
    entries = parseImaList(list);
    const coverage = coverageOf(entries, bank, value);
    covered = coverage.covered;
    fault = coverage.forged !== undefined
      ? "an entry's digest is not of its data"
      : coverage.elsewhere !== undefined
      ? "an entry is of another register"
      : covered === undefined
      ? "the replay never gives this PCR 10"
      : covered < entries.length
      ? `${entries.length - covered} entries are newer than this PCR 10: fetch the list again`
      : undefined;
  } catch (error) {
    if (!(error instanceof CocosError)) throw error;
    fault = error.message;
  }
  const verified = fault === undefined;
  terminal.result({
    verified,
    entries: entries.length,
    covered: covered ?? 0,
    bank,
    pcr10: value.toHex(),
    ...(fault === undefined ? {} : { fault }),
  });
  if (verified) {
    terminal.success("Measurements file verified!");
    return Exit.OK;
  }
  terminal.failure("Measurements file not verified", { after: "❌" });
  terminal.say(`hint: ${fault}`);
  return Exit.UNTRUSTED;
}

async function fetchList(
  { file, force }: AttestInvocation & { command: "ima-measurements" },
  context: Context,
): Promise<Uint8Array> {
  return await withPeer("agent", ({ AgentService }) => AgentService, context, async (peer) => {
    const { messages } = peer.client.iMAMeasurements({}, { signal: context.signal });
    await using draft = await Draft.open(file, { mode: 0o600, force });
    let length = 0;
    let pcr10: Uint8Array = new Uint8Array();
    for await (const message of messages) {
      length += message.file.length;
      if (length > MAX_LIST_BYTES) throw new CocosError("too-large", "the list is too long");
      if (message.pcr10.length > 0) pcr10 = message.pcr10;
      await draft.write(message.file);
    }
    if (pcr10.length !== 20) {
      throw new CocosError("data-loss", "the agent sent no PCR 10 of the SHA-1 bank");
    }
    await draft.commit();
    return pcr10;
  }, { anyKey: true });
}
