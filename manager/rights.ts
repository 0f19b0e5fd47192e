// launch: --allow-env=MANAGER_*,COCOS_*,HOME,XDG_STATE_HOME,PATH --allow-read --allow-sys=uid,cpus
// Prints the rights the manager's configuration asks for, one Deno flag a line. It runs before the
// manager, reads settings and looks for files, and can do nothing else.
import { CocosError, formatEndpoint } from "../base/mod.ts";
import { type Arguments, parseArguments } from "./arguments.ts";
import { type Config, readManagerConfig } from "./config.ts";
import { socketPath } from "./folder.ts";
import { measurementsOf } from "./image.ts";
import { settingsSource, thisMachine } from "./machine.ts";
import { fatal } from "./_fatal.ts";

/**
 * Flags for one configuration. A socket is granted by its exact path, hence one for each port;
 * `more` are ports outside the range that an earlier manager's VMs still hold.
 *
 * @throws {CocosError} `invalid-config` for a path with a comma: it would widen a list.
 */
export function rights(
  config: Config,
  args: Pick<Arguments, "config"> = { config: undefined },
  more: readonly number[] = [],
): string[] {
  const { template, management, tls } = config;
  const ports: number[] = [];
  for (let port = config.ports.first; port <= config.ports.last; port++) ports.push(port);
  const forward = config.forwardAddress === "" ? "0.0.0.0" : config.forwardAddress;
  const read = [
    config.stateDir,
    template.qemu,
    template.kernel,
    template.initrd,
    measurementsOf(template.kernel),
    template.firmware?.code.file,
    template.firmware?.vars.file,
    template.tee?.kind === "snp" ? template.tee.igvmFile : undefined,
    template.tee?.kind === "tdx" ? template.tee.ovmfFile : undefined,
    template.net.romFile,
    config.probeFile,
    config.pcrValues,
    tls?.certFile,
    tls?.keyFile,
    tls?.clientCaFile,
    management.caFile,
    management.certFile,
    management.keyFile,
    args.config,
  ];
  const net = [
    formatEndpoint(config.listen),
    config.http === undefined ? undefined : formatEndpoint(config.http),
    formatEndpoint(management.endpoint),
    ...ports.map((port) => `${forward}:${port}`),
    ...[...new Set([...ports, ...more])].map((port) => `unix:${socketPath(config.stateDir, port)}`),
  ];
  return [
    list("read", read),
    list("write", [config.stateDir]),
    list("net", net),
    list("run", [template.qemu]),
  ];
}

function list(kind: string, values: readonly (string | undefined)[]): string {
  const given = [...new Set(values.filter((each) => each !== undefined && each !== ""))];
  for (const value of given) {
    // deno-lint-ignore no-control-regex
    if (/[,\x00-\x1f]/.test(value as string)) {
      throw new CocosError(
        "invalid-config",
        `Cannot grant ${
          JSON.stringify(value)
        }: a path must not have a comma or a control character`,
        { hint: "Move the file, or name it through a link without a comma." },
      );
    }
  }
  return `--allow-${kind}=${given.join(",")}`;
}

/** Ports of the sockets an earlier manager left. */
function socketsLeft(stateDir: string): number[] {
  try {
    return [...Deno.readDirSync(`${stateDir}/qmp`)]
      .map(({ name }) => Number(/^(\d{1,5})\.sock$/.exec(name)?.[1] ?? 0))
      .filter((port) => port > 0);
  } catch {
    return []; // the first start
  }
}

if (import.meta.main) {
  try {
    const args = parseArguments(Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args);
    if (args.action === "run") {
      const { source, names } = settingsSource(args.config);
      const config = readManagerConfig(source, thisMachine(), names);
      console.log(rights(config, args, socketsLeft(config.stateDir)).join("\n"));
    }
  } catch (error) {
    fatal(error);
  }
}
