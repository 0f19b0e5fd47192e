// What a command line says about trust: the manifest a party approved, the agent's key; and the commands
// to read and approve a manifest.
import { Argument, type Command } from "commander";
import { given, hex, path } from "./arguments.ts";

/** Flags of commands that are a party's, about what it trusts. */
export interface Trust {
  /** File with the approved manifest. */
  readonly manifest?: string;
  /** The agent's key, `sha256:` and 64 hexadecimal digits. */
  readonly pin?: string;
}

/** A command about a manifest. */
export interface ManifestInvocation {
  readonly command: "manifest show" | "manifest digest" | "manifest approve";
  /** Absent: the agent's. */
  readonly file?: string;
  /** Digest it must have, hexadecimal. */
  readonly digest?: string;
  readonly pin?: string;
}

/** Whether an invocation is a command about a manifest. */
export function isManifest<T extends { readonly command: string }>(
  invocation: T,
): invocation is T & ManifestInvocation {
  return invocation.command.startsWith("manifest ");
}

/** Adds the flags about what a party trusts. */
export const trusting = (command: Command) =>
  command
    .option(
      "--manifest <file>",
      "manifest you approved, instead of what `manifest approve` kept",
      path,
    )
    .option(
      "--pin <sha256:hex>",
      "key of the agent, as the management server's log has it",
      hex("sha256:"),
    );

/** Commands about the manifest the parties agreed on. */
export function addManifestCommands(
  program: Command,
  take: (invocation: ManifestInvocation) => void,
): void {
  const manifest = program.command("manifest")
    .description("the manifest the parties agreed on: from a file, or from the agent");
  const add = (word: "show" | "digest" | "approve", description: string) =>
    manifest.command(word)
      .description(description)
      .addArgument(
        new Argument("[file]", "canonical manifest (JSON); absent: the agent's").argParser(path),
      )
      .option("--pin <sha256:hex>", "key the agent must have", hex("sha256:"));
  const act =
    (word: "show" | "digest" | "approve") =>
    (file: string | undefined, options: { digest?: string; pin?: string }) =>
      take({
        command: `manifest ${word}`,
        ...given({ file, digest: options.digest?.toLowerCase(), pin: options.pin }),
      });
  add("show", "print it for reading").action(act("show"));
  add("digest", "print its digest, which every party must have approved").action(act("digest"));
  add("approve", "keep it as approved: uploads go to agents that hold this one")
    .option("--digest <hex>", "refuse another digest", hex(""))
    .action(act("approve"));
}
