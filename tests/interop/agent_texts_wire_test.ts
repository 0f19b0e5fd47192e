// What a Go peer reads of the agent after the upload: the texts of a failed run, of stops, of wrong
// archives, of evidence that isn't there, and an empty result (wire.md §4.5, §4.7), by hand-made bytes.
import assert from "node:assert/strict";
import { createPrivateKey, sign } from "node:crypto";
import { Buffer } from "node:buffer";
import { Management, startAgent } from "../_agent.ts";
import { freePort, House } from "../_house.ts";
import { digest } from "../_parties.ts";
import { Client, field, type Reply } from "../_grpc.ts";

const SERVICE = "/agent.AgentService";
const MIB = 1 << 20;

const [, , ed25519] = JSON.parse(
  await Deno.readTextFile(new URL("testdata/keys.json", import.meta.url)),
) as { private: string; public: string }[];

/** Metadata of a role, signed by node:crypto. */
function signed(role: string): Record<string, string> {
  const key = createPrivateKey(ed25519?.private ?? "");
  return { "user-id": role, signature: sign(null, Buffer.from(role), key).toString("base64") };
}

const userKey = Uint8Array.fromBase64(
  (ed25519?.public ?? "").split("\n").filter((line) => !line.startsWith("-")).join(""),
);

/** An agent, a management server, and calls of the one party there is. */
async function open(house: House) {
  const management = await Management.start();
  const port = freePort();
  const agent = startAgent(house, management.port, port);
  const give = async (id: string, program: string, datasets: string[] = []) => {
    management.give({
      id,
      algorithm: { hash: Uint8Array.fromHex(digest(program)), userKey },
      datasets: datasets.map((each) => ({ hash: Uint8Array.fromHex(digest(each)), userKey })),
      resultConsumers: [{ userKey }],
      agentConfig: { port: String(port) },
    });
    assert.equal(await management.until(`runRes ${id}`), `runRes ${id} `);
  };
  const ask = async (
    method: string,
    metadata: Record<string, string>,
    messages: readonly Uint8Array[],
  ): Promise<Reply> => {
    using client = new Client(port);
    return await client.call(`${SERVICE}/${method}`, metadata, messages);
  };
  const algo = (program: string, more: Record<string, string> = {}) =>
    ask("Algo", { ...signed("algorithm-provider"), ...more }, [field(1, program)]);
  const data = (content: string, more: Record<string, string> = {}) =>
    ask("Data", { ...signed("data-provider"), ...more }, [field(1, content)]);
  const result = () => ask("Result", signed("consumer"), [new Uint8Array()]);
  return { management, agent, give, ask, algo, data, result };
}

const said = ({ status, text }: Reply) => [status, status === 0 ? "" : text];

Deno.test("wire.md §4.7 a run that fails, a signal, a stop, an empty result: the Go agent's words", async () => {
  await using house = await House.open("agent-texts");
  const { management, agent, give, algo, data, result } = await open(house);
  await using _management = management;

  const failing = "#!/bin/sh\nexit 3\n";
  await give("1", failing);
  assert.deepEqual(said(await algo(failing, { algo_type: "bin" })), [0, ""]);
  await management.until("event Failed/Failed");
  assert.deepEqual(said(await result()), [2, "algorithm execution error: exit status 3"]);
  assert.deepEqual(said(await algo(failing)), [
    2,
    "agent not expecting this operation in the current state",
  ]);
  // The id of a stop is echoed, not compared.
  management.stop("another id");
  assert.equal(await management.until("stopped"), "stopped another id ");
  await management.until("event Stopped/Stopped");

  const killed = "#!/bin/sh\nkill -9 $$\n";
  await give("2", killed);
  await algo(killed);
  await management.until("event Failed/Failed", 2);
  assert.deepEqual(said(await result()), [2, "algorithm execution error: signal: killed"]);
  management.stop("2");
  await management.until("stopped 2 ");

  const quiet = "#!/bin/sh\ntrue\n";
  await give("3", quiet, ["a", "b"]);
  await algo(quiet);
  // Two datasets; an archive that is none leaves its item expected.
  const broken = await data("a", { decompress: "true" });
  assert.equal(broken.status, 2);
  assert.match(broken.text, /^error decompressing dataset: /);
  assert.deepEqual(said(await data("a")), [0, ""]);
  assert.deepEqual(said(await data("a")), [2, "dataset not declared in computation manifest"]);
  assert.deepEqual(said(await data("b", { decompress: "false" })), [0, ""]);
  await management.until("event ConsumingResults/Ready");
  const empty = await result();
  assert.equal(empty.status, 0);
  assert.equal(empty.headers["file-size"], "22");
  // ResultResponse{file}: tag 0x0a, 22 bytes, an archive without entries.
  assert.deepEqual(empty.messages.map((each) => each.toString("hex")), [
    "0a16504b0506" + "00".repeat(18),
  ]);
  await management.until("event Complete/Completed");
  await agent.stop();
});

Deno.test("wire.md head, §4.7 a message above 4 MiB and requests for evidence: codes and texts", async () => {
  await using house = await House.open("agent-texts");
  const { management, agent, give, ask } = await open(house);
  await using _management = management;
  await give("1", "x");
  const large = await ask("Algo", signed("algorithm-provider"), [field(1, Buffer.alloc(5 * MIB))]);
  assert.equal(large.status, 8);
  assert.match(large.text, /^(grpc: )?[Rr]eceived message larger than max \(\d+ vs\.? 4194304\)$/);

  const type = (number: number) => Uint8Array.of(0x18, number);
  const LONG = "malformed vTPM nonce, expect less or equal to 32 bytes";
  const rows: [string, Uint8Array[], string][] = [
    [
      "Attestation",
      [field(1, Buffer.alloc(65))],
      "malformed report data, expect less or equal to 64 bytes",
    ],
    ["Attestation", [field(2, Buffer.alloc(33)), type(1)], LONG],
    ["Attestation", [type(3)], "invalid attestation type"],
    ["Attestation", [type(5)], "invalid attestation type"],
    ["AzureAttestationToken", [field(1, Buffer.alloc(33))], LONG],
    [
      "AzureAttestationToken",
      [field(1, "n")],
      "attestation type does not exist or is not supported",
    ],
    [
      "IMAMeasurements",
      [],
      "error reading Linux IMA measurements file: open " +
      "/sys/kernel/security/integrity/ima/ascii_runtime_measurements: no such file or directory",
    ],
  ];
  for (const [method, fields, text] of rows) {
    // No role is needed for evidence.
    const reply = await ask(method, {}, [Buffer.concat(fields)]);
    assert.deepEqual(said(reply), [2, text], method);
  }
  await agent.stop();
});
