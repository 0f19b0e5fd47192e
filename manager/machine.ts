// What the process can see of the machine it runs on. Deno refuses /proc, /sys and /dev to a process
// with limited rights, so the launcher looks there and says it in MANAGER_HOST_* variables.
import { cpus } from "node:os";
import { CocosError, messageOf, type Source } from "../base/mod.ts";
import type { Machine, PRODUCT_LINES, Tee } from "./settings.ts";

/** Reads the facts from the environment and the file system; what may not be read is not there. */
export function thisMachine(): Machine {
  const root = Deno.uid() === 0;
  return {
    cwd: Deno.cwd(),
    home: new URL("..", import.meta.url).pathname.replace(/\/$/, ""),
    stateDir: defaultStateDir(root, (name) => Deno.env.get(name)),
    searchPath: Deno.env.get("PATH") ?? "",
    productLine: productLineOf(cpus()[0]?.model ?? ""),
    tee: hostTee(Deno.env.get("MANAGER_HOST_TEE")),
    root,
    isFile: (path) => {
      try {
        return Deno.statSync(path).isFile;
      } catch {
        return false;
      }
    },
  };
}

/** Where state lies unless MANAGER_STATE_DIR says otherwise. */
export function defaultStateDir(root: boolean, get: Source): string {
  if (root) return "/var/lib/cocos/manager";
  const home = get("HOME") || "/tmp";
  return `${get("XDG_STATE_HOME") || `${home}/.local/state`}/cocos/manager`;
}

/**
 * AMD's product line of a processor's name. The last digit of an EPYC's number is its generation: 7003
 * is Milan, 8004 and 9004 are Genoa's kin, 8005 and 9005 are Turin's; clouds put letters between.
 */
export function productLineOf(model: string): (typeof PRODUCT_LINES)[number] | undefined {
  const number = /\bEPYC(?:-| | Embedded )([A-Z0-9]+)\b/i.exec(model)?.[1] ?? "";
  if (/^7[0-9A-Z][0-9A-Z]3[A-Z]*$/.test(number)) return "Milan";
  if (/^[89][0-9A-Z][0-9A-Z]4[A-Z]*$/.test(number)) return "Genoa";
  if (/^[89][0-9A-Z][0-9A-Z]5[A-Z]*$/.test(number)) return "Turin";
  return undefined;
}

function hostTee(value: string | undefined): Tee {
  return value === "snp" || value === "tdx" ? value : "none";
}

/** Identifies this boot of the host; `undefined` without the launcher. */
export function bootId(): string | undefined {
  const value = Deno.env.get("MANAGER_HOST_BOOT_ID") ?? "";
  return /^[0-9a-f-]{36}$/.test(value) ? value : undefined;
}

/** Largest settings file that is read. */
const MAX_FILE_BYTES = 1024 * 1024;

/**
 * Reads a file of `KEY=value` lines, as systemd's EnvironmentFile takes them: empty lines and lines
 * that begin with `#` are skipped, one pair of quotes around a value is dropped.
 *
 * @throws {CocosError} `invalid-config` with every wrong line.
 */
export function parseSettingsFile(text: string, name: string): Map<string, string> {
  const values = new Map<string, string>();
  const mistakes: string[] = [];
  text.split(/\r?\n/).forEach((line, index) => {
    if (/^\s*(?:#.*)?$/.test(line)) return;
    const parts = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]{0,127})=(.*?)\s*$/.exec(line);
    const where = `${name}:${index + 1}`;
    if (parts === null) return void mistakes.push(`${where}: must be KEY=value`);
    const [key, value] = [parts[1] as string, parts[2] as string];
    if (values.has(key)) return void mistakes.push(`${where}: ${key} is set twice`);
    const quoted = /^(?:"([^"\\]*)"|'([^']*)')$/.exec(value);
    values.set(key, quoted === null ? value : quoted[1] ?? quoted[2] ?? "");
  });
  if (mistakes.length > 0) {
    throw new CocosError("invalid-config", `Cannot read settings:\n  ${mistakes.join("\n  ")}`, {
      hint: "Correct the lines named above.",
    });
  }
  return values;
}

/** Settings of the environment over those of a file, and the file's names. */
export function settingsSource(file: string | undefined): { source: Source; names: string[] } {
  let values = new Map<string, string>();
  if (file !== undefined) {
    let text: string;
    try {
      if (Deno.statSync(file).size > MAX_FILE_BYTES) throw new RangeError("it is too large");
      text = Deno.readTextFileSync(file);
    } catch (cause) {
      throw new CocosError("invalid-config", `Cannot read ${file}: ${messageOf(cause)}`, { cause });
    }
    values = parseSettingsFile(text, file);
  }
  return { source: (name) => Deno.env.get(name) ?? values.get(name), names: [...values.keys()] };
}
