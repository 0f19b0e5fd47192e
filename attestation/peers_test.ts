// The same verdicts as other people's tools: tpm2-tools over a software TPM, evmctl, sev-snp-measure.
// A machine, or a run, that lacks a tool or the right to start it says so.
import assert from "node:assert/strict";
import type { BankValues } from "./banks.ts";
import { join } from "./forge/der.ts";
import { u32le } from "./forge/eventlog.ts";
import { efiKernel, FIRMWARE_GUID as GUID, firmwareFile, sevMetadata } from "./forge/firmware.ts";
import { binaryList, measured, pcr10 } from "./forge/ima.ts";
import { fromHex } from "./forge/tpm.ts";
import { coverageOf, parseImaList } from "./ima/mod.ts";
import { CPU_SIGNATURES, measureSev } from "./measure/mod.ts";
import { flipped } from "./testdata/vectors.ts";
import { appraiseTpm, isActivated, makeCredential, parsePublic2b } from "./tpm/mod.ts";

/** A folder that is removed at the end, or `undefined` after a `skipped:` line. */
async function workshop(tools: readonly string[]): Promise<string | undefined> {
  for (const tool of tools) {
    const right = await Deno.permissions.query({ name: "run", command: tool });
    if (right.state !== "granted") {
      console.log(`skipped: this run has no right to start ${tool}`);
      return undefined;
    }
    try {
      await new Deno.Command(tool, { args: ["--version"], stdout: "null", stderr: "null" })
        .output();
    } catch {
      console.log(`skipped: ${tool} is not installed`);
      return undefined;
    }
  }
  const write = await Deno.permissions.query({ name: "write", path: "/tmp" });
  if (write.state !== "granted") {
    console.log("skipped: this run has no right to write files for other tools");
    return undefined;
  }
  return await Deno.makeTempDir({ dir: "/tmp" });
}

interface Run {
  readonly ok: boolean;
  readonly text: string;
}

async function run(tool: string, args: readonly string[], cwd: string, env = {}): Promise<Run> {
  const command = new Deno.Command(tool, {
    args: [...args],
    cwd,
    env,
    stdout: "piped",
    stderr: "piped",
  });
  const { success, stdout, stderr } = await command.output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  return { ok: success, text };
}

/** A port nobody listens on, with the next one free as well. */
function freePort(): number {
  for (;;) {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    if (port >= 65_000) continue;
    try {
      Deno.listen({ hostname: "127.0.0.1", port: port + 1 }).close();
      return port;
    } catch {
      continue;
    }
  }
}

const TPM_TOOLS = [
  "swtpm",
  "tpm2_createek",
  "tpm2_createak",
  "tpm2_quote",
  "tpm2_pcrread",
  "tpm2_pcrextend",
  "tpm2_checkquote",
  "tpm2_flushcontext",
  "tpm2_startauthsession",
  "tpm2_policysecret",
  "tpm2_activatecredential",
];

Deno.test("A-8 appraiseTpm() and makeCredential() agree with tpm2-tools over swtpm", async () => {
  const folder = await workshop(TPM_TOOLS);
  if (folder === undefined) return;
  const net = await Deno.permissions.query({ name: "net", host: "127.0.0.1" });
  if (net.state !== "granted") {
    console.log("skipped: this run has no right to reach a TPM on 127.0.0.1");
    return await Deno.remove(folder, { recursive: true });
  }
  const port = freePort();
  const tpm = new Deno.Command("swtpm", {
    args: [
      ...[
        "socket",
        "--tpm2",
        "--tpmstate",
        `dir=${folder}`,
        "--flags",
        "not-need-init,startup-clear",
      ],
      ...["--server", `type=tcp,port=${port}`, "--ctrl", `type=tcp,port=${port + 1}`],
    ],
    stdout: "null",
    stderr: "null",
  }).spawn();
  const env = { TPM2TOOLS_TCTI: `swtpm:host=127.0.0.1,port=${port}` };
  const tool = async (name: string, line: string): Promise<Run> => {
    for (let attempt = 0;; attempt++) {
      const result = await run(name, line.split(" "), folder, env);
      const starting = !result.ok && /Connection refused|tcti.*(connect|init)/i.test(result.text);
      if (!starting || attempt > 50) return result;
    }
  };
  const must = async (name: string, line: string) => {
    const { ok, text } = await tool(name, line);
    assert.ok(ok, `${name} ${line}: ${text}`);
    await tool("tpm2_flushcontext", "-t");
  };
  const file = (name: string) => Deno.readFile(`${folder}/${name}`);
  try {
    await must("tpm2_createek", "-G rsa -c ek.ctx -u ek.pub");
    for (const [algorithm, scheme] of [["ecc", "ecdsa"], ["rsa", "rsassa"]] as const) {
      await must(
        "tpm2_createak",
        `-C ek.ctx -c ak.ctx -G ${algorithm} -g sha256 -s ${scheme} -u ak.pub`,
      );
      await must("tpm2_pcrextend", `10:sha256=${"ab".repeat(32)}`);
      const nonce = "0badcafe".repeat(4);
      await must(
        "tpm2_quote",
        `-c ak.ctx -l sha256:0,7,10 -q ${nonce} -g sha256 -m q.msg -s q.sig -o q.pcrs`,
      );
      await must("tpm2_pcrread", "sha256:0,7,10 -o values");
      const bytes = await file("values");
      const registers = [0, 7, 10].map((index, at) =>
        [index, bytes.subarray(32 * at, 32 * at + 32)] as const
      );
      const values: BankValues = new Map([["sha256", new Map(registers)]]);
      const [message, signature] = [await file("q.msg"), await file("q.sig")];
      const area = parsePublic2b(await file("ak.pub")).raw;
      const both = async (name: string, quote: Uint8Array, asked: string) => {
        await Deno.writeFile(`${folder}/other.msg`, quote);
        const peer = await tool(
          "tpm2_checkquote",
          `-u ak.pub -m other.msg -s q.sig -f q.pcrs -g sha256 -q ${asked}`,
        );
        const { verdict } = await appraiseTpm(
          { ak: { area }, quotes: [{ quote, signature, values }] },
          {
            binding: "any",
            nonce: "session",
            banks: ["sha256"],
            registers: [0, 7, 10],
            pcrs: "any",
            counters: "any",
          },
          { nonce: fromHex(asked) },
        );
        assert.equal(verdict.ok, peer.ok, `${algorithm}, ${name}: ${peer.text}`);
        return verdict.ok;
      };
      assert.equal(await both("honest", message, nonce), true);
      assert.equal(await both("other nonce", message, "0badcafd".repeat(4)), false);
      assert.equal(await both("flipped clock", flipped(message, 8 * 80), nonce), false);
      assert.equal(
        await both("flipped digest", flipped(message, 8 * (message.length - 1)), nonce),
        false,
      );

      const ek = parsePublic2b(await file("ek.pub"));
      const challenge = await makeCredential(ek, parsePublic2b(await file("ak.pub")));
      const header = Uint8Array.of(0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1);
      await Deno.writeFile(
        `${folder}/credential`,
        join(header, challenge.credentialBlob, challenge.encryptedSecret),
      );
      await must("tpm2_startauthsession", "--policy-session -S session.ctx");
      await must("tpm2_policysecret", "-S session.ctx -c e");
      await must(
        "tpm2_activatecredential",
        "-c ak.ctx -C ek.ctx -i credential -o secret -P session:session.ctx",
      );
      assert.equal(isActivated(challenge, await file("secret")), true);
      await must("tpm2_flushcontext", "session.ctx");
    }
  } finally {
    tpm.kill("SIGTERM");
    await tpm.status;
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("A-10 coverageOf() agrees with evmctl about honest and changed lists", async () => {
  const folder = await workshop(["evmctl"]);
  if (folder === undefined) return;
  try {
    const list = [measured("/init", "init"), measured("/bin/a b", "x"), {
      ...measured("/log", ""),
      violation: true,
    }];
    for (const bank of ["sha1", "sha256"] as const) {
      const value = pcr10(list, bank);
      const hex = [...value].map((byte) => byte.toString(16).padStart(2, "0").toUpperCase());
      const zeros = hex.map(() => "00").join(" ");
      const lines = Array.from(
        { length: 24 },
        (_, i) => `PCR-${String(i).padStart(2, "0")}: ${i === 10 ? hex.join(" ") : zeros}`,
      );
      await Deno.writeTextFile(`${folder}/pcrs`, `${lines.join("\n")}\n`);
      const cases = [
        binaryList(list),
        binaryList(list.slice(0, 2)),
        binaryList([list[1]!, list[0]!, list[2]!]),
      ];
      for (const [at, bytes] of cases.entries()) {
        await Deno.writeFile(`${folder}/list`, bytes);
        const args = [
          "ima_measurement",
          "--ignore-violations",
          "--pcrs",
          `${bank},${folder}/pcrs`,
          `${folder}/list`,
        ];
        const peer = await run("evmctl", args, folder);
        const ours = coverageOf(parseImaList(bytes), bank, value).covered !== undefined;
        assert.equal(ours, peer.ok, `${bank} ${at}: ${peer.text}`);
        assert.equal(ours, at === 0);
      }
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("measureSev() agrees with sev-snp-measure on a firmware made now", async () => {
  const folder = await workshop(["sev-snp-measure"]);
  if (folder === undefined) return;
  try {
    const bytes = 0x3000;
    const sections = [[0x800000, 0x4000, 1], [0x804000, 0x1000, 2], [0x805000, 0x1000, 3], [
      0x806000,
      0x1000,
      16,
    ]] as const;
    const firmware = firmwareFile(
      bytes,
      [[GUID.resetBlock, u32le(0x80b004)], [GUID.hashTable, join(u32le(0x806800), u32le(0x400))], [
        GUID.sevMetadata,
        u32le(bytes - 0x100),
      ]],
      sevMetadata(sections),
    );
    await Deno.writeFile(`${folder}/fw`, firmware);
    await Deno.writeFile(`${folder}/kernel`, efiKernel());
    for (const [model, signature] of Object.entries(CPU_SIGNATURES)) {
      const cpus = 1 + model.length % 5;
      const append = `console=ttyS0 model=${model}`;
      const args = [
        "--mode",
        "snp",
        "--vcpus",
        String(cpus),
        "--vcpu-type",
        model,
        "--ovmf",
        "fw",
        "--kernel",
        "kernel",
        "--append",
        append,
      ];
      const peer = await run("sev-snp-measure", args, folder);
      const ours = await measureSev({
        mode: "snp",
        firmware,
        cpus,
        signature,
        features: 1,
        vmm: "qemu",
        boot: { kernel: efiKernel(), append },
      });
      assert.equal(ours.digest, peer.text.trim(), model);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
