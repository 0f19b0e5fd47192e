// What a manifest must be so that a strict agent takes it, checked where its maker can still correct
// it; the agent checks it again (docs/protocol.md).
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { cvms } from "../proto/mod.ts";
import type { ComputationPlan } from "./plan.ts";

type Message = MessageInitShape<typeof cvms.ComputationRunReqSchema>;

/** An id in the one spelling everybody compares (RFC 9562 §4). */
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A dataset's name becomes a file's name in the CVM (threats F-1, M-6). */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._+@=,() -]{0,254}$/;

/** Every rule a manifest breaks. */
export function checkRules(plan: ComputationPlan, message: Message, compat: boolean): string[] {
  return [...namesOf(plan, compat), ...compat ? [] : strictRules(plan, message)];
}

/** What a plan says that a compat manifest has no place for: dropping it would change the run. */
export function beyondCompat({ algorithm, limits, logReaders, egress }: ComputationPlan): string[] {
  const said: [string, boolean][] = [
    ["algorithm.args", algorithm.args.length > 0],
    ["algorithm.runtime", algorithm.runtime !== ""],
    ["algorithm.requirements", algorithm.requirements !== undefined],
    ["limits", Object.keys(limits).length > 0],
    ["log_readers", logReaders.length > 0],
    ["egress", egress.length > 0],
  ];
  return said.filter(([, is]) => is).map(([at]) =>
    `${at}: a compat manifest has no place for it; the uploader says it, or nobody`
  );
}

function namesOf({ datasets }: ComputationPlan, compat: boolean): string[] {
  const taken = new Map<string, number>();
  return datasets.flatMap(({ filename }, i) => {
    const problem = nameProblem(filename, compat, taken);
    taken.set(filename.toLowerCase(), i);
    return problem === undefined ? [] : [`datasets[${i}].filename: ${problem}`];
  });
}

function nameProblem(
  name: string,
  compat: boolean,
  taken: ReadonlyMap<string, number>,
): string | undefined {
  if (name === "") return compat ? undefined : "is required where there is no file";
  if (!NAME.test(name) || /[. ]$/.test(name)) {
    return `${JSON.stringify(name)} must be a plain file name of at most 255 of A-Z a-z 0-9 . _ ` +
      "+ @ = , ( ) - and space";
  }
  const twin = taken.get(name.toLowerCase());
  if (twin !== undefined) {
    return `${JSON.stringify(name)} is the name of datasets[${twin}] already: give each its own`;
  }
  return undefined;
}

function strictRules(plan: ComputationPlan, message: Message): string[] {
  const { algorithm, channel, agent } = plan;
  const type = message.algorithm?.type ?? "";
  const mistakes: string[] = [];
  const rule = (is: boolean, text: string) => {
    if (!is) mistakes.push(text);
  };
  rule(
    plan.id === undefined || UUID.test(plan.id),
    "id: must be a UUID in lower case; leave it out, and it is made from the content",
  );
  rule(
    algorithm.file !== undefined || algorithm.type !== undefined,
    "algorithm.type: is required where there is no file",
  );
  if (type !== "" && type !== "python") {
    rule(
      algorithm.requirements === undefined,
      `algorithm.requirements: are Python's, not ${type}'s`,
    );
    rule(algorithm.runtime === "", `algorithm.runtime: is Python's, not ${type}'s`);
  }
  rule(
    ["", "python3", "pyodide"].includes(algorithm.runtime),
    "algorithm.runtime: must be python3 or pyodide",
  );
  const items = [message.algorithm, ...message.datasets ?? []];
  [algorithm, ...plan.datasets].forEach(({ file }, i) => {
    const at = i === 0 ? "algorithm" : `datasets[${i - 1}]`;
    // What could not be read has been named already, and has no digest.
    if (items[i]?.size !== 0n || items[i]?.hash?.length === 0) return;
    mistakes.push(
      file === undefined
        ? `${at}.size: is required where there is no file`
        : `${at}: ${file} is empty`,
    );
  });
  const seen = new Map<string, number>();
  (message.resultConsumers ?? []).forEach(({ userKey }, i) => {
    const id = (userKey ?? new Uint8Array()).toHex();
    const first = seen.get(id);
    if (first !== undefined && id !== "") {
      mistakes.push(`consumers[${i}]: is the key of consumers[${first}] already`);
    }
    seen.set(id, first ?? i);
  });
  rule(
    agent.attestedTls === (channel === "attested"),
    "channel: must be attested exactly when agent.attested_tls is true",
  );
  return mistakes;
}
