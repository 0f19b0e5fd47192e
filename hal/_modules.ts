// Which kernel modules the guest loads, and in what order: read from the modules themselves.

/** Loaded at every boot: the network card, the two shares, and the power button. */
export const MODULES_ALWAYS = ["virtio_net", "9pnet_virtio", "9p", "button", "evdev"];

/** Loaded only where the processor says so; the name is the list's file in the image. */
export const MODULES_ON_DEMAND: Record<string, readonly string[]> = {
  snp: ["sev-guest"],
  tdx: ["tdx-guest"],
};

/**
 * Names a module needs before it, from its `.modinfo` section: NUL-ended `key=value` texts, of
 * which `depends=` is a comma list.
 */
export function dependsOf(module: Uint8Array): string[] {
  const text = new TextDecoder("latin1").decode(module);
  const list = /\0depends=([a-z0-9_,-]*)\0/i.exec(text)?.[1] ?? "";
  return list.split(",").filter((name) => name !== "");
}

/**
 * File names in the order to load, one a line: each module after all it needs. `unpack` answers a
 * module's bytes, or undefined for one that is built into the kernel.
 */
export async function closure(
  names: readonly string[],
  unpack: (name: string) => Promise<Uint8Array | undefined>,
): Promise<string> {
  const order: string[] = [];
  const seen = new Set<string>();
  const visit = async (name: string): Promise<void> => {
    const key = name.replaceAll("-", "_");
    if (seen.has(key)) return;
    seen.add(key);
    const module = await unpack(name);
    if (module === undefined) return;
    for (const need of dependsOf(module)) await visit(need);
    order.push(`${key}.ko`);
  };
  for (const name of names) await visit(name);
  return order.map((file) => `${file}\n`).join("");
}
