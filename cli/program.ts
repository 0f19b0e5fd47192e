// The command line of `cocos` as data: argv in, one typed invocation out. It opens nothing and
// runs nothing, so the launcher can ask what a command will need before it is given any right.
import { Argument, Command, CommanderError, Option } from "commander";
import { CocosError, parseDuration, parseEndpoint } from "../base/mod.ts";
import { checked, given, path } from "./arguments.ts";
import { addAttestCommands } from "./attest/commands.ts";
import type { AttestInvocation } from "./attest/invocation.ts";
import { addManifestCommands, type ManifestInvocation, type Trust, trusting } from "./trust.ts";
import info from "./deno.json" with { type: "json" };

/** Kinds of key pair `keys` makes. */
export const KEY_TYPES = ["rsa", "ecdsa", "ed25519"] as const;

/** Kinds of algorithm on the wire (wire.md §4.5). */
export const ALGORITHM_TYPES = ["bin", "python", "wasm", "docker"] as const;

/** Shells `completion` writes for. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

/** Flags every command takes. */
export interface Globals {
  /** One JSON object on stdout, nothing for people on stderr. */
  readonly json: boolean;
  /** Errors with their causes. */
  readonly verbose: boolean;
  /** Speak the wire of the Go programs of the v0.8.2 era. */
  readonly compat: boolean;
}

/** One parsed command with its arguments. */
export type Invocation =
  | AttestInvocation
  | { readonly command: "help"; readonly text: string }
  | { readonly command: "version" }
  | { readonly command: "completion"; readonly shell: typeof SHELLS[number] }
  | { readonly command: "cvms" }
  | {
    readonly command: "keys";
    readonly kind: typeof KEY_TYPES[number];
    readonly directory: string;
    readonly force: boolean;
  }
  | (Trust & {
    readonly command: "algo";
    readonly file: string;
    readonly key: string;
    /** This and the next: absent, the manifest's, and in compat the seed's defaults. */
    readonly type?: typeof ALGORITHM_TYPES[number];
    readonly pythonRuntime?: string;
    readonly requirements?: string;
    readonly wheelhouse?: string;
    readonly args: readonly string[];
  })
  | (Trust & {
    readonly command: "data";
    readonly path: string;
    readonly key: string;
    readonly decompress: boolean;
  })
  | (Trust & {
    readonly command: "result";
    readonly key: string;
    /** Absent: the archive itself is not kept (only with `extract`). */
    readonly output?: string;
    readonly extract?: string;
    readonly force: boolean;
  })
  | ManifestInvocation
  | (Trust & { readonly command: "output"; readonly key: string })
  | { readonly command: "run explain"; readonly file: string }
  | {
    readonly command: "create-vm";
    readonly serverUrl: string;
    readonly serverCa?: string;
    readonly clientKey?: string;
    readonly clientCrt?: string;
    readonly caUrl: string;
    readonly logLevel: string;
    readonly ttl: string;
  }
  | { readonly command: "remove-vm"; readonly id: string }
  | {
    readonly command: "checksum";
    readonly path: string;
    readonly manifest: boolean;
    readonly base64: boolean;
  };

/** An invocation with its global flags. */
export type Parsed = Invocation & { readonly globals: Globals };

/** Version of these programs. */
export const VERSION: string = info.version;

/**
 * Parses the arguments after the program's name.
 *
 * @throws {CocosError} `invalid-argument` whose message is the usage mistake.
 */
export function parse(argv: readonly string[]): Parsed {
  let found: Invocation | undefined;
  let printed = "";
  const program = build((invocation) => found = invocation);
  const output = {
    writeOut: (text: string) => printed += text,
    writeErr: (text: string) => printed += text,
  };
  const every = program.commands.flatMap((command) => [command, ...command.commands]);
  for (const command of [program, ...every]) {
    command.exitOverride().configureOutput(output).helpCommand(false);
  }
  const globals = () => {
    const { json = false, verbose = false, compat = false } = program.opts();
    return { json, verbose, compat } as Globals;
  };
  try {
    program.parse(argv as string[], { from: "user" });
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) throw thrown;
    if (thrown.exitCode === 0 || thrown.code === "commander.help") {
      if (thrown.code === "commander.version") return { command: "version", globals: globals() };
      return { command: "help", text: printed, globals: globals() };
    }
    const word = wordsOf(program, argv);
    throw new CocosError("invalid-argument", thrown.message.replace(/^error: /, ""), {
      cause: thrown,
      hint: word === undefined
        ? "`cocos --help` lists the commands."
        : `\`cocos ${word} --help\` shows how it is used.`,
    });
  }
  if (found !== undefined && isParty(found)) refuseTrustInCompat(found, globals());
  return { ...found ?? { command: "help", text: program.helpInformation() }, globals: globals() };
}

function isParty(invocation: Invocation): invocation is Invocation & Trust {
  return ["algo", "data", "result", "output"].includes(invocation.command);
}

/** An agent of the seed era has neither manifest nor key to compare: saying so must not be in vain. */
function refuseTrustInCompat({ manifest, pin }: Trust, { compat }: Globals): void {
  if (!compat || (manifest ?? pin) === undefined) return;
  throw new CocosError(
    "invalid-argument",
    "--manifest and --pin are of the strict mode: an agent of the seed era has neither to compare",
    { hint: "Leave --compat away, or them." },
  );
}

/** The command, with its subcommand, that the arguments name. */
function wordsOf(program: Command, argv: readonly string[]): string | undefined {
  const named = (command: Command, word: string) =>
    command.name() === word || command.aliases().includes(word);
  const first = argv.findIndex((word) => program.commands.some((each) => named(each, word)));
  if (first < 0) return undefined;
  const [word, next] = argv.slice(first) as [string, string | undefined];
  const subcommands = program.commands.find((each) => named(each, word))?.commands ?? [];
  const known = next !== undefined && subcommands.some((each) => named(each, next));
  return known ? `${word} ${next}` : word;
}

const key = () => new Argument("<private-key>", "private key file (PEM)").argParser(path);

/** The tree of commands; `take` gets the invocation when one has been parsed. */
export function build(take: (invocation: Invocation) => void): Command {
  const program = new Command("cocos")
    .description(
      "Uploads to, and fetches from, confidential VMs; creates, removes and appraises them.",
    )
    .version(VERSION, "-V, --version", "print the version")
    .option("--json", "print one JSON object on stdout instead of text")
    .option("-v, --verbose", "show the causes of errors")
    .option("--compat", "speak the wire of the Go programs (v0.8.2), with role-only signatures")
    .showHelpAfterError(false)
    .helpCommand(false);

  program.command("keys")
    .description("make a key pair: private.pem (0600) and public.pem")
    .addOption(new Option("-k, --key-type <type>", "kind of key").choices(KEY_TYPES).default("rsa"))
    .addOption(
      new Option("--dir <directory>", "where to write them").default(".").argParser(path),
    )
    .option("-f, --force", "replace existing key files")
    .action(({ keyType, dir, force = false }) =>
      take({ command: "keys", kind: keyType, directory: dir, force })
    );

  program.command("create-vm")
    .description("ask the manager (MANAGER_GRPC_URL) for a confidential VM")
    .requiredOption(
      "--server-url <host:port>",
      "computation management server the agent dials",
      checked(parseEndpoint),
    )
    .option("--server-ca <file>", "certificates of that server's authority (PEM)", path)
    .option("--client-key <file>", "the agent's client key (PEM)", path)
    .option("--client-crt <file>", "the agent's client certificate (PEM)", path)
    .option("--ca-url <url>", "certificate authority for attested TLS", "")
    .option("--log-level <level>", "log level of the agent: debug, info, warn, error", "")
    .option("--ttl <duration>", "life of the VM, such as 1h30m", checked(parseDuration), "")
    .action(({ serverUrl, serverCa, clientKey, clientCrt, caUrl, logLevel, ttl }) =>
      take({
        command: "create-vm",
        serverUrl,
        ...given({ serverCa, clientKey, clientCrt }),
        caUrl,
        logLevel,
        ttl,
      })
    );

  program.command("remove-vm")
    .description("end a confidential VM")
    .argument("<cvm-id>", "id that create-vm printed")
    .action((id) => take({ command: "remove-vm", id }));

  trusting(program.command("algo"))
    .description("upload the algorithm to the agent (AGENT_GRPC_URL)")
    .addArgument(new Argument("<file>", "algorithm file").argParser(path))
    .addArgument(key())
    .addOption(
      new Option(
        "-a, --algorithm <type>",
        "kind of algorithm; the manifest's, with --compat bin",
      ).choices(ALGORITHM_TYPES),
    )
    .option("--python-runtime <program>", "Python to run it with, as the manifest has it")
    .option("-r, --requirements <file>", "requirements.txt, or a zip of it with wheels", path)
    .option("--wheelhouse <directory>", "directory with requirements.txt and *.whl", path)
    .option(
      "--args <argument>",
      "argument of the algorithm, as the manifest has it; repeat for more",
      (text: string, before: string[]) => [...before, text],
      [] as string[],
    )
    .action((file, key, options) =>
      take({
        command: "algo",
        file,
        key,
        ...(options.algorithm === undefined ? {} : { type: options.algorithm }),
        ...given({
          pythonRuntime: options.pythonRuntime,
          requirements: options.requirements,
          wheelhouse: options.wheelhouse,
          manifest: options.manifest,
          pin: options.pin,
        }),
        args: options.args,
      })
    );

  trusting(program.command("data"))
    .description("upload a dataset, a file or a directory, to the agent")
    .addArgument(new Argument("<path>", "file or directory").argParser(path))
    .addArgument(key())
    .option("-d, --decompress", "let the agent unpack the archive, as the manifest has it")
    .action((path, key, { decompress = false, manifest, pin }) =>
      take({ command: "data", path, key, decompress, ...given({ manifest, pin }) })
    );

  trusting(program.command("result"))
    .description("fetch the result of the computation")
    .addArgument(key())
    .addArgument(
      new Argument("[output]", "archive to write (default results.zip)").argParser(path),
    )
    .option("-x, --extract <directory>", "unpack into a new directory", path)
    .option("-f, --force", "replace an existing output")
    .action((key, output, { extract, force = false, manifest, pin }) =>
      take({
        command: "result",
        key,
        ...given({
          output: output ?? (extract === undefined ? "results.zip" : undefined),
          extract,
          manifest,
          pin,
        }),
        force,
      })
    );

  trusting(program.command("output"))
    .description("print the last of what the algorithm printed, if the manifest lets you see it")
    .addArgument(key())
    .action((key, { manifest, pin }) =>
      take({ command: "output", key, ...given({ manifest, pin }) })
    );

  addManifestCommands(program, take);

  program.command("checksum")
    .description("print the SHA3-256 of a file, a directory or a manifest")
    .addArgument(new Argument("<path>", "file or directory").argParser(path))
    .option("-m, --manifest", "the file is a computation manifest (JSON)")
    .option("-b, --base64", "print base64 instead of hexadecimal")
    .action((path, { manifest = false, base64 = false }) =>
      take({ command: "checksum", path, manifest, base64 })
    );

  addAttestCommands(program, take);

  program.command("run")
    .description("what a run will be allowed")
    .command("explain")
    .description("print what the sandbox will allow the algorithm of a manifest")
    .addArgument(new Argument("<manifest>", "canonical manifest (JSON)").argParser(path))
    .action((file) => take({ command: "run explain", file }));

  program.command("cvms")
    .description("run a computation management server for tests (cocos-computations cvms)")
    .argument("[flags...]")
    .allowUnknownOption()
    .helpOption(false)
    .action(() => take({ command: "cvms" }));

  program.command("version")
    .description("print the version")
    .action(() => take({ command: "version" }));

  program.command("completion")
    .description("print a completion script for a shell")
    .addArgument(new Argument("<shell>").choices(SHELLS))
    .action((shell) => take({ command: "completion", shell }));

  return program;
}
