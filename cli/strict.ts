// A party's connection to the agent in the strict mode: the manifest the agent holds is the approved
// one, the agent's key the pinned one, before anything of the party's leaves. Neither the network nor
// the management server nor the agent is trusted until then (threats G-2, M-7, M-9).
import type { DescMethod } from "@bufbuild/protobuf";
import { CocosError, formatEndpoint, Status } from "../base/mod.ts";
import {
  AgentService,
  type ClientSecurity,
  type Connected,
  connectTo,
  PartyService,
  pathOf,
  type PrivateKey,
  securityText,
  signRequest,
} from "../proto/mod.ts";
import { advise } from "./advice.ts";
import {
  type Agreement,
  differences,
  parseAgreement,
  readAgreement,
  readAgreementFile,
} from "./agreement.ts";
import { agreementText } from "./agreement_text.ts";
import { Approvals } from "./approvals.ts";
import type { Context } from "./context.ts";
import { publicText } from "./match.ts";
import { type PeerSettings, readSettings } from "./settings.ts";
import { printable } from "./terminal.ts";

/** What a command line says about trust. */
export interface TrustFlags {
  /** File with the approved manifest; it is stronger than what was approved before. */
  readonly manifest?: string;
  /** The agent's key, `sha256:` and 64 hexadecimal digits. */
  readonly pin?: string;
}

const SERVICES = { agent: AgentService, party: PartyService };

type Line = Connected<typeof SERVICES>;

/** What a signed request is about (proto/request.ts). */
export interface Subject {
  readonly item: string;
  /** SHA3-256 of the payload, hexadecimal; absent when there is none. */
  readonly payload?: string;
  readonly size?: number;
}

/** A connection on which the party's requests are signed. */
export interface Agent {
  readonly agreement: Agreement;
  readonly agent: Line["agent"];
  readonly party: Line["party"];
  /** What belongs into the one JSON object of every command. */
  readonly facts: Readonly<Record<string, string>>;
  /** Metadata of one call of a method, over a challenge that was asked for on this connection. */
  sign(method: DescMethod, subject: Subject): Promise<Record<string, string>>;
}

/** A manifest as an agent holds it, and how it was reached. */
export interface Reached extends AsyncDisposable {
  readonly agreement: Agreement;
  readonly line: Line;
  /** The agent's key; absent without TLS. */
  readonly key: string | undefined;
}

/**
 * Connects to the agent as `key`'s party, checks what is to be checked, and runs `work`.
 *
 * @throws {CocosError} `untrusted` before anything of the party's is sent: for an agent without a
 * manifest to compare, another manifest than the approved one, one that nobody approved, or another
 * key than the pinned one.
 */
export async function withAgent<T>(
  flags: TrustFlags,
  key: PrivateKey,
  context: Context,
  work: (agent: Agent) => Promise<T>,
): Promise<T> {
  const { terminal, signal } = context;
  const settings = readSettings("agent", context.env);
  await using reached = await reach(settings, flags, context);
  const { agreement, line } = reached;
  const { terms, digest } = agreement;
  await checkApproved(agreement, flags, publicText(key), context);
  await checkKey(reached, flags, context);
  if (terms.channel === "insecure") {
    terminal.failure(
      "INSECURE CHANNEL: the manifest allows it; whoever is in between reads and changes everything",
      { before: "⚠️ " },
    );
  }
  const sign: Agent["sign"] = async (method, { item, payload = "", size = 0 }) => {
    const { challenge, lifetimeSeconds } = await line.party.challenge({
      computationId: terms.id,
      manifestDigest: Uint8Array.fromHex(digest),
    }, { signal, timeoutMs: settings.timeoutMs });
    return signRequest({
      method: pathOf(method),
      computation: terms.id,
      manifest: digest,
      item,
      payload,
      size,
      challenge: challenge.toHex(),
      channel: "",
      lifetime: lifetimeSeconds,
    }, key);
  };
  try {
    const facts = {
      computation: terms.id,
      manifest: digest,
      channel: terms.channel,
      ...(reached.key === undefined ? {} : { door_key: reached.key }),
    };
    return await work({ agreement, agent: line.agent, party: line.party, facts, sign });
  } catch (thrown) {
    throw advise(thrown, wordsOf(settings, reached.key === undefined ? "without TLS" : "with TLS"));
  }
}

/** Asks the agent for its manifest: over TLS, or without when there is none and no key is pinned. */
export async function reach(
  settings: PeerSettings,
  flags: TrustFlags,
  context: Context,
): Promise<Reached> {
  refuseAuthorities(settings);
  const wanted = pinOf(flags);
  let key: string | undefined;
  const pinned: ClientSecurity = {
    kind: "pinned",
    check: (found) => {
      const expected = wanted ?? key ?? found;
      if (found !== expected) throw otherKey(expected, found, "pinned");
      key = found;
    },
  };
  try {
    return await ask(settings, pinned, () => key, context);
  } catch (thrown) {
    const nobody = thrown instanceof CocosError && thrown.code === "unavailable";
    if (!nobody || wanted !== undefined || key !== undefined) throw thrown;
  }
  return await ask(settings, { kind: "none" }, () => undefined, context);
}

async function ask(
  settings: PeerSettings,
  security: ClientSecurity,
  key: () => string | undefined,
  { terminal, signal }: Context,
): Promise<Reached> {
  const { target, timeoutMs } = settings;
  const line = connectTo(SERVICES, { target, security });
  try {
    const { canonical } = await line.party.manifest({}, { signal, timeoutMs });
    terminal.say(`Connected to agent  ${securityText(security)}`, { before: "🔗" });
    const agreement = readAgreement(canonical);
    return {
      agreement,
      line,
      get key() {
        return key();
      },
      [Symbol.asyncDispose]: () => line.close(),
    };
  } catch (thrown) {
    await line.close();
    if (thrown instanceof CocosError && thrown.status === Status.UNIMPLEMENTED) {
      throw new CocosError(
        "untrusted",
        "the agent shows no manifest: it speaks the wire of the seed era, whose requests anybody who " +
          "sees them can use again",
        { cause: thrown, hint: "Nothing was sent. `cocos --compat …` talks to such an agent." },
      );
    }
    throw advise(thrown, wordsOf(settings, securityText(security)));
  }
}

function wordsOf({ target }: PeerSettings, how: string) {
  return { name: "agent", address: formatEndpoint(target), how };
}

/** Variables of the seed-era TLS: an authority says nothing about which agent this is. */
function refuseAuthorities({ serverCa, clientCert }: PeerSettings): void {
  if ((serverCa ?? clientCert) === undefined) return;
  throw new CocosError(
    "invalid-config",
    "AGENT_GRPC_SERVER_CA_CERTS, _CLIENT_CERT and _CLIENT_KEY are for agents of the seed era: in the " +
      "strict mode the agent's own key is pinned, and requests are signed",
    { hint: "Unset them, or use `cocos --compat`." },
  );
}

/** The key of `--pin`, hexadecimal. */
function pinOf({ pin }: TrustFlags): string | undefined {
  return pin?.slice("sha256:".length).toLowerCase();
}

/** The manifest must be the approved one; where nobody approved one, a person is asked. */
async function checkApproved(
  agreement: Agreement,
  flags: TrustFlags,
  mine: string,
  { terminal, env }: Context,
): Promise<void> {
  const approvals = new Approvals(env);
  const { terms, digest } = agreement;
  const stored = flags.manifest === undefined ? await approvals.approved(terms.id) : undefined;
  const approved = flags.manifest !== undefined
    ? await readAgreementFile(flags.manifest)
    : stored === undefined
    ? undefined
    : parseAgreement(stored);
  if (approved !== undefined) {
    if (approved.digest === digest) return;
    const changed = differences(approved.terms, terms).map((path) => printable(path, 100));
    throw new CocosError(
      "untrusted",
      `the agent has another manifest than the approved one: ${digest}, approved is ` +
        `${approved.digest}; they differ in ${changed.join(", ")}`,
      {
        hint:
          "Nothing was sent. Ask the others which manifest they approved; `cocos manifest show` " +
          "shows the agent's.",
      },
    );
  }
  if (!terminal.interactive) {
    throw new CocosError(
      "untrusted",
      `nobody here approved the manifest ${digest} of computation ${terms.id}`,
      {
        hint: "Nothing was sent. Read it with `cocos manifest show`, then type `cocos manifest " +
          `approve --digest ${digest}\``,
      },
    );
  }
  terminal.say(agreementText(agreement, mine));
  if (!await terminal.ask("Is this what you agreed on? Type yes to approve it: ")) {
    throw new CocosError("untrusted", "the manifest was not approved", {
      hint: "Nothing was sent.",
    });
  }
  await approvals.approve(agreement);
}

/** The channel must be the manifest's, and the agent's key the one that was seen first. */
async function checkKey(
  { agreement, key }: Reached,
  flags: TrustFlags,
  { terminal, env }: Context,
): Promise<void> {
  const { channel } = agreement.terms;
  if (channel === "attested") {
    throw new CocosError(
      "not-supported",
      "the manifest wants an attested channel, which this version does not have yet",
    );
  }
  if ((channel === "tls") !== (key !== undefined)) {
    throw new CocosError(
      "untrusted",
      `the manifest wants the channel ${channel}, the agent answers ${
        key === undefined ? "without TLS" : "with TLS"
      }`,
      { hint: "Nothing was sent. Somebody may be between you and the agent." },
    );
  }
  if (key === undefined) return;
  const approvals = new Approvals(env);
  const seen = await approvals.pinned(agreement);
  if (seen === key) return;
  if (seen !== undefined && flags.pin === undefined) throw otherKey(seen, key, "seen first");
  if (flags.pin === undefined) {
    terminal.say(
      `Pinned the agent's key sha256:${key}; the management server's log names it as door_key`,
      { before: "📌" },
    );
  }
  // Who gives the pin each time needs no place for it.
  if (flags.pin === undefined || approvals.keeps) await approvals.pin(agreement, key);
}

function otherKey(expected: string, found: string, how: string): CocosError {
  return new CocosError(
    "untrusted",
    `the agent has the key sha256:${found}, ${how} was sha256:${expected}`,
    {
      hint:
        "Nothing was sent. An agent that was started again has a new key: compare door_key in the " +
        "management server's log, then give --pin sha256:…",
    },
  );
}
