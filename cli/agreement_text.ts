// A manifest in plain words: who gives what, who gets the result, who sees what. Every text in it is
// somebody else's; none of them steers the terminal, none is cut short.
import { createHash } from "node:crypto";
import { type Channel, type Kind, type LogReader, readPublicKey } from "../proto/mod.ts";
import type { AgreedDataset, Agreement, Terms } from "./agreement.ts";
import { printable } from "./terminal.ts";

const KIND_WORDS: Record<Kind, string> = {
  bin: "a program or script",
  python: "a Python program",
  wasm: "a WebAssembly program",
  docker: "a container image",
};

const READER_WORDS: Record<LogReader, string> = {
  consumers: "those who get the result",
  "algorithm-provider": "who gives the algorithm",
  server: "the management server",
};

const CHANNEL_WORDS: Record<Channel, string> = {
  attested: "a channel bound to evidence about the machine",
  tls: "TLS with a key the agent makes itself; each party pins it",
  insecure: "INSECURE: without protection; whoever is in between reads and changes everything",
};

/** The readable form of a manifest; `mine` is the reader's own public key, base64. */
export function agreementText({ terms, digest }: Agreement, mine?: string): string {
  const parties = partiesOf(terms);
  const who = (key: string) => {
    const name = `party ${parties.indexOf(key) + 1}`;
    return key === mine ? `${name} (you)` : name;
  };
  const { algorithm, datasets, resultConsumers } = terms;
  const sections: [string, string[]][] = [
    ["Computation", [
      quoted(terms.name),
      ...(terms.description === "" ? [] : [quoted(terms.description)]),
      `id      ${terms.id}`,
      `digest  ${digest}`,
    ]],
    ["What runs", [
      `${KIND_WORDS[algorithm.type]} of ${bytes(algorithm.size)}, given by ${
        who(algorithm.userKey)
      }`,
      `  sha3-256      ${algorithm.hash}`,
      `  arguments     ${
        algorithm.args.length === 0 ? "none" : algorithm.args.map(quoted).join(" ")
      }`,
      ...(algorithm.runtime === "" ? [] : [`  runtime       ${quoted(algorithm.runtime)}`]),
      `  requirements  ${
        algorithm.requirementsHash === "" ? "none" : `sha3-256 ${algorithm.requirementsHash}`
      }`,
    ]],
    [
      "What it reads",
      datasets.length === 0 ? ["nothing"] : datasets.flatMap((each) => [
        `${quoted(each.filename)} of ${bytes(each.size)}, given by ${who(each.userKey)}${
          unpacked(each)
        }`,
        `  sha3-256      ${each.hash}`,
      ]),
    ],
    ["Who gets the result", resultConsumers.map(({ userKey }) => who(userKey))],
    [
      "Who sees what it prints",
      terms.logReaders.length === 0
        ? ["nobody"]
        : terms.logReaders.map((each) => READER_WORDS[each]),
    ],
    ["What it may use at most", limitsOf(terms)],
    [
      "What it may reach",
      terms.egress.length === 0 ? ["nothing: it has no network"] : [
        `while its requirements are installed: ${terms.egress.map(quoted).join(", ")}`,
        "while it runs: nothing",
      ],
    ],
    ["How parties reach the agent", [CHANNEL_WORDS[terms.channel]]],
    ["Parties", parties.map((key) => `${who(key)}: ${keyText(key)}`)],
  ];
  return sections.map(([title, lines]) => [title, ...lines.map((line) => `  ${line}`)].join("\n"))
    .join("\n");
}

/** Every key of a manifest once, in the order of their first part in it. */
function partiesOf({ algorithm, datasets, resultConsumers }: Terms): string[] {
  return [...new Set([algorithm, ...datasets, ...resultConsumers].map(({ userKey }) => userKey))];
}

/** Kind and SHA-256 of a key's SubjectPublicKeyInfo. */
function keyText(key: string): string {
  const spki = Uint8Array.fromBase64(key);
  const fingerprint = `sha256:${createHash("sha256").update(spki).digest("hex")}`;
  try {
    return `${readPublicKey(spki).kind} key ${fingerprint}`;
  } catch {
    return `a key no agent takes, ${fingerprint}`;
  }
}

function limitsOf({ limits }: Terms): string[] {
  const { wallSeconds, memoryBytes, processes, diskBytes, logBytes } = limits;
  const lines: [string, number, string][] = [
    ["time", wallSeconds, duration(wallSeconds)],
    ["memory", memoryBytes, bytes(memoryBytes)],
    ["processes", processes, String(processes)],
    ["results", diskBytes, bytes(diskBytes)],
    ["output", logBytes, bytes(logBytes)],
  ];
  const own = lines.filter(([, value]) => value === 0).map(([name]) => name);
  return [
    ...lines.filter(([, value]) => value > 0).map(([name, , shown]) =>
      `${name.padEnd(10)}${shown}`
    ),
    ...(own.length === 0 ? [] : [`${own.join(", ")}: as much as the agent's own limits allow`]),
  ];
}

function unpacked({ decompress }: AgreedDataset): string {
  return decompress ? ", unpacked from its archive" : "";
}

/** A foreign text as it stands, with its control characters shown. */
function quoted(text: string): string {
  return printable(JSON.stringify(text), Infinity);
}

function bytes(count: number): string {
  return `${count.toLocaleString("en")} ${count === 1 ? "byte" : "bytes"}`;
}

function duration(seconds: number): string {
  const parts: [number, string][] = [
    [Math.floor(seconds / 3600), "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  return parts.filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`).join(" ");
}
