// PCR 4 and 9 as they are computed from a kernel, an initial root and a command line, against what a
// TPM holds after OVMF booted them. Limits are generous: without KVM a boot takes a minute.
import assert from "node:assert/strict";
import { type Bank, measurePcr4, measurePcr9, type OvmfBoot } from "../../attestation/mod.ts";

const root = new URL("../../", import.meta.url).pathname;
const OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const BUSYBOX = "/usr/bin/busybox";
const APPEND = "console=ttyS0 quiet panic=-1";
const MEMORY_MIB = 512;
const LIMIT_MS = 10 * 60_000;

/** The guest says what its TPM holds, and ends. */
const INIT = `#!/bin/busybox sh
/bin/busybox mount -t sysfs sysfs /sys
for bank in sha256 sha384; do
  for pcr in 4 9; do
    echo "PCR $bank $pcr $(/bin/busybox cat /sys/class/tpm/tpm0/pcr-$bank/$pcr)"
  done
done
/bin/busybox poweroff -f
`;

type Entry = readonly [name: string, mode: number, data: Uint8Array];

/** An archive of the form newc, which the kernel takes as its initial root. */
async function archive(entries: readonly Entry[]): Promise<Uint8Array> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const put = (bytes: Uint8Array) => {
    const whole = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
    whole.set(bytes);
    parts.push(whole);
  };
  for (const [at, [name, mode, data]] of [...entries, END].entries()) {
    const numbers = [at + 1, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0];
    const head = numbers.map((each) => each.toString(16).padStart(8, "0")).join("");
    put(new TextEncoder().encode(`070701${head}${name}\0`));
    put(data);
  }
  return await new Blob(parts).bytes();
}

const END: Entry = ["TRAILER!!!", 0, new Uint8Array()];
const FOLDER = 0o040755;
const PROGRAM = 0o100755;

/** Boots what `boot` says beside a software TPM; everything the guest wrote. */
async function booted(folder: string, boot: OvmfBoot): Promise<string> {
  await Deno.copyFile(VARIABLES, `${folder}/variables.fd`);
  await Deno.writeFile(`${folder}/kernel`, boot.kernel);
  await Deno.writeFile(`${folder}/initrd`, boot.initrd ?? new Uint8Array());
  await Deno.mkdir(`${folder}/tpm`);
  const socket = `${folder}/tpm/socket`;
  const signal = AbortSignal.timeout(LIMIT_MS);
  await using watcher = watched(`${folder}/tpm`);
  await using _tpm = new Deno.Command("swtpm", {
    args: ["socket", "--tpm2", "--tpmstate", `dir=${folder}/tpm`, "--ctrl"]
      .concat([`type=unixio,path=${socket}`, "--terminate"]),
    stdout: "null",
    stderr: "null",
    signal,
  }).spawn();
  await watcher.until("socket");
  const machine = new Deno.Command("qemu-system-x86_64", {
    args: [
      ...["-machine", "q35", "-accel", "tcg", "-m", String(MEMORY_MIB)],
      ...["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"],
      ...["-drive", `if=pflash,format=raw,readonly=on,file=${OVMF}`],
      ...["-drive", `if=pflash,format=raw,file=${folder}/variables.fd`],
      ...["-kernel", `${folder}/kernel`, "-initrd", `${folder}/initrd`, "-append", boot.append],
      ...["-chardev", `socket,id=tpm,path=${socket}`, "-tpmdev", "emulator,id=tpm0,chardev=tpm"],
      ...["-device", "tpm-crb,tpmdev=tpm0"],
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
    signal,
  });
  const { stdout } = await machine.output();
  return new TextDecoder().decode(stdout);
}

/** Waits for a name to appear in a folder. */
function watched(folder: string) {
  const events = Deno.watchFs(folder, { recursive: false });
  return {
    async until(name: string): Promise<void> {
      const there = () => [...Deno.readDirSync(folder)].some((each) => each.name === name);
      if (there()) return;
      for await (const _event of events) if (there()) return;
    },
    [Symbol.asyncDispose]: () => {
      try {
        events.close();
      } catch { /* the loop closed it */ }
      return Promise.resolve();
    },
  };
}

async function missing(): Promise<string | undefined> {
  for (const path of [OVMF, VARIABLES, BUSYBOX, `${root}build/hal/bzImage`]) {
    try {
      await Deno.stat(path);
    } catch {
      return path;
    }
  }
  try {
    await new Deno.Command("swtpm", { args: ["--version"], stdout: "null" }).output();
  } catch {
    return "swtpm";
  }
  return undefined;
}

Deno.test("e2e: A-9 PCR 4 and 9 computed from the files are those of a TPM whose machine OVMF booted", async () => {
  const lack = await missing();
  if (lack !== undefined) return console.log(`skipped: ${lack} is not on this machine`);
  const boot: OvmfBoot = {
    kernel: await Deno.readFile(`${root}build/hal/bzImage`),
    initrd: await archive([
      ["bin", FOLDER, new Uint8Array()],
      ["sys", FOLDER, new Uint8Array()],
      ["dev", FOLDER, new Uint8Array()],
      ["bin/busybox", PROGRAM, await Deno.readFile(BUSYBOX)],
      ["init", PROGRAM, new TextEncoder().encode(INIT)],
    ]),
    append: APPEND,
    machine: { machine: "q35", memoryBytes: MEMORY_MIB * 2 ** 20 },
  };
  await Deno.mkdir(`${root}.cache`, { recursive: true });
  const folder = await Deno.makeTempDir({ dir: `${root}.cache`, prefix: "vtpm-" });
  try {
    const said = await booted(folder, boot);
    const held = new Map(
      [...said.matchAll(/PCR (sha\d+) (\d) ([0-9A-F]+)/g)]
        .map(([, bank, pcr, value]) => [`${bank} ${pcr}`, value?.toLowerCase()]),
    );
    assert.equal(held.size, 4, said);
    for (const bank of ["sha256", "sha384"] as const satisfies readonly Bank[]) {
      assert.equal(held.get(`${bank} 4`), measurePcr4(boot, bank));
      assert.equal(held.get(`${bank} 9`), measurePcr9(boot, bank));
    }
    const other = { ...boot, append: `${APPEND} ` };
    assert.notEqual(held.get("sha256 9"), measurePcr9(other));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
