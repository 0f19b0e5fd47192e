// Rows of WebAssembly: the sandboxed child from its start to its end, and two kernels in C against
// the same programs compiled for this machine and under wasmtime. Kernels print the seconds their work
// took, so that nobody's start counts; the best of several turns in which all take part is compared,
// for the machine may be busy.
import { House } from "../_house.ts";
import type { Row } from "./_rows.ts";

/** Turns of a comparison. */
const TURNS = 5;

/** A module that opens `results/one` and ends (made with runtimes/wasm/_encode.ts). */
export const TRIVIAL = Uint8Array.fromBase64(
  "AGFzbQEAAAABEQJgCX9/f39/fn5/fwF/YAAAAiQBFndhc2lfc25hcHNob3RfcHJldmlldzEJcGF0aF9vcGVuAAADAgEB" +
    "BQMBAAEHEwIGX3N0YXJ0AAEGbWVtb3J5AgAKGgEYAEEDQQBBCEELQQFCwgBCAEEAQQAQABoLCxEBAEEICwtyZXN1bHRz" +
    "L29uZQ==",
);

/** Runs a module in the sandbox; gives what it printed and the milliseconds of all of it. */
async function sandboxed(
  house: House,
  module: Uint8Array<ArrayBuffer> | string,
  args: readonly string[] = [],
): Promise<{ text: string; ms: number }> {
  const directory = house.path("job");
  for (const name of ["results", "datasets"]) {
    await Deno.mkdir(`${directory}/${name}`, { recursive: true });
  }
  if (typeof module === "string") await Deno.copyFile(module, `${directory}/algo`);
  else await Deno.writeFile(`${directory}/algo`, module);
  // The child's Deno and bundle, as the launcher makes them; then the driver and one sandbox.
  const { code, stdout, stderr } = await house.runAt("sh", [
    "-c",
    `root=$1 deno=$2 directory=$3
    shift 3
    here=$root/bin
    . "$here/_deno.sh"
    find_deno
    bundle_child
    ln -sfn "$DENO" "$deno"
    exec "$DENO" run --quiet --no-prompt --cached-only --ignore-env \
      --allow-run=/usr/bin/bwrap --allow-read="$directory" \
      "$root/runtimes/wasm/_once.ts" "$directory" "$deno" "$CHILD" "$@"`,
    ...["sh", House.path("").replace(/\/$/, ""), house.path("deno"), directory, ...args],
  ], { PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin", HOME: Deno.env.get("HOME") ?? "/root" });
  const ms = Number(/^([0-9.]+) ms\n$/m.exec(stderr)?.[1] ?? NaN);
  if (code !== 0 || Number.isNaN(ms)) throw new Error(`exit code ${code}: ${stderr}${stdout}`);
  return { text: stdout, ms };
}

/** Runs a module with wasmtime's Python package. */
const WASMTIME = `
import sys, wasmtime as w
engine = w.Engine(w.Config()); linker = w.Linker(engine); linker.define_wasi()
module = w.Module.from_file(engine, sys.argv[1]); store = w.Store(engine); wasi = w.WasiConfig()
wasi.argv = ["algo"] + sys.argv[3:]; wasi.inherit_stdout(); wasi.preopen_dir(sys.argv[2], ".")
store.set_wasi(wasi)
try: linker.instantiate(store, module).exports(store)["_start"](store)
except w.ExitTrap as end: sys.exit(end.code)
`;

/** Seconds a kernel printed in its last line. */
function seconds(text: string): number {
  const found = /^([0-9.]+) s$/m.exec(text)?.[1];
  if (found === undefined) throw new Error(`no time in ${JSON.stringify(text)}`);
  return Number(found);
}

/** Who runs a kernel. */
type Runs = "ours" | "native" | "wasmtime";

/** Best seconds of a kernel by each. */
async function compare(
  kernel: "cpu" | "read",
  who: readonly Runs[],
): Promise<Record<Runs, number>> {
  await using house = await House.open("bench");
  const path = { PATH: "/usr/local/bin:/usr/bin:/bin" };
  const runs = async (program: string, args: readonly string[]) => {
    const { code, stdout, stderr } = await house.runAt(program, args, path);
    if (code !== 0) throw new Error(stderr.trim() || `exit code ${code}`);
    return stdout;
  };
  const source = House.path(`tests/bench/kernels/${kernel}.c`);
  const [wasm, native] = [house.path("kernel.wasm"), house.path("kernel")];
  await runs("sh", ["-c", 'clang --target=wasm32-wasi -O2 -o "$1" "$2"', "sh", wasm, source]);
  await runs("sh", ["-c", 'clang -O2 -o "$1" "$2" -lm', "sh", native, source]);
  const world = house.path("job");
  await Deno.mkdir(`${world}/datasets`, { recursive: true });
  // 256 MiB four times: from the page cache, for disks differ.
  const args = kernel === "read" ? ["datasets/big", "4"] : [];
  if (kernel === "read") {
    using file = await Deno.create(`${world}/datasets/big`);
    for (let i = 0; i < 256; i++) await file.write(new Uint8Array(1 << 20));
  }
  const python = Deno.env.get("COCOS_WASMTIME");
  if (who.includes("wasmtime") && python === undefined) {
    throw new Error("COCOS_WASMTIME must name a Python that has the package wasmtime");
  }
  const native_ = args.map((word) => word.replace("datasets", `${world}/datasets`));
  const how: Record<Runs, () => Promise<string>> = {
    ours: async () => (await sandboxed(house, wasm, args)).text,
    native: () => runs("sh", ["-c", 'exec "$@"', "sh", native, ...native_]),
    wasmtime: () =>
      runs("sh", ["-c", 'exec "$@"', "sh", python ?? "", "-c", WASMTIME, wasm, world, ...args]),
  };
  const best: Record<Runs, number> = { ours: Infinity, native: Infinity, wasmtime: Infinity };
  for (let turn = 0; turn < TURNS; turn++) {
    for (const each of who) best[each] = Math.min(best[each], seconds(await how[each]()));
  }
  return best;
}

/** The rows; all need a C compiler for WASI, two need wasmtime. */
export const WASM_ROWS: readonly Row[] = [
  {
    id: "wasm-child",
    title: "wasm: sandboxed child, start → end",
    unit: "ms",
    aim: 120,
    makers: ["ours"],
    run: async () => {
      await using house = await House.open("bench");
      return (await sandboxed(house, TRIVIAL)).ms;
    },
  },
  {
    id: "wasm-cpu-native",
    title: "wasm: CPU kernel, time over native",
    unit: "×",
    aim: 1.4,
    makers: ["ours"],
    slow: true,
    run: async () => {
      const { ours, native } = await compare("cpu", ["native", "ours"]);
      return ours / native;
    },
  },
  {
    id: "wasm-cpu-wasmtime",
    title: "wasm: CPU kernel, time over wasmtime",
    unit: "×",
    aim: 1.15,
    makers: ["ours"],
    slow: true,
    run: async () => {
      const { ours, wasmtime } = await compare("cpu", ["wasmtime", "ours"]);
      return ours / wasmtime;
    },
  },
  {
    id: "wasm-read-native",
    title: "wasm: 1 GiB by 64 KiB, speed over native",
    unit: "×",
    more: true,
    aim: 0.7,
    makers: ["ours"],
    slow: true,
    run: async () => {
      const { ours, native } = await compare("read", ["native", "ours"]);
      return native / ours;
    },
  },
  {
    id: "wasm-read-wasmtime",
    title: "wasm: 1 GiB by 64 KiB, speed over wasmtime",
    unit: "×",
    more: true,
    aim: 2,
    makers: ["ours"],
    slow: true,
    run: async () => {
      const { ours, wasmtime } = await compare("read", ["wasmtime", "ours"]);
      return wasmtime / ours;
    },
  },
];
