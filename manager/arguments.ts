// The manager's own command line. Hand-written, as rights.ts and main.ts must read it alike and
// neither should load a library for six flags.
import { CocosError } from "../base/mod.ts";
import { absolute } from "./settings.ts";

/** What the command line asks for. */
export interface Arguments {
  readonly action: "run" | "help" | "version";
  /** Absolute path of a settings file. */
  readonly config: string | undefined;
  /** Print QEMU's command and stop. */
  readonly dryRun: boolean;
  /** Guests speak the wire of the Go programs; measured, as it stands on the kernel command line. */
  readonly guestCompat: boolean;
  readonly removeVmsOnExit: boolean;
}

/** What `--help` prints. */
export const HELP = `cocos-manager - makes and watches confidential VMs on this host

usage: cocos-manager [flags]

  --config FILE          settings as KEY=value lines; the environment goes before them
  --dry-run              print the exact QEMU command of a VM and stop
  --guest-compat         start guests in the mode of the Go programs (cocos.mode=compat)
  --remove-vms-on-exit   remove every VM when the manager stops; without it they run on and are
                         taken back at the next start
  --version              print the version
  --help                 print this

Settings are MANAGER_* variables, listed in docs/manager.md.
`;

/** Version of the program. */
export const VERSION = "0.1.0";

/**
 * Reads the arguments.
 *
 * @throws {CocosError} `invalid-argument` naming the word.
 */
export function parseArguments(words: readonly string[], cwd = Deno.cwd()): Arguments {
  let action: Arguments["action"] = "run";
  let config: string | undefined;
  const switches = { "--dry-run": false, "--guest-compat": false, "--remove-vms-on-exit": false };
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    if (Object.hasOwn(switches, word)) switches[word as keyof typeof switches] = true;
    else if (word === "--help" || word === "-h") action = "help";
    else if (word === "--version") action = action === "help" ? action : "version";
    else if (word === "--config" || word.startsWith("--config=")) {
      const value = word === "--config" ? words[++at] : word.slice("--config=".length);
      if (value === undefined || value === "") throw refused("--config needs a file");
      config = absolute(cwd, value);
    } else throw refused(`unknown argument ${JSON.stringify(word.slice(0, 80))}`);
  }
  return {
    action,
    config,
    dryRun: switches["--dry-run"],
    guestCompat: switches["--guest-compat"],
    removeVmsOnExit: switches["--remove-vms-on-exit"],
  };
}

function refused(message: string): CocosError {
  return new CocosError("invalid-argument", message, { hint: "Try cocos-manager --help." });
}
