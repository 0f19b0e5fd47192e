// The manager process on the host: settings, log, lock, VMs of before, front door; then it waits.
import { formatEndpoint, logger, messageOf, startLogging } from "../base/mod.ts";
import { commandOf, shellText } from "./argv.ts";
import { type Arguments, HELP, parseArguments, VERSION } from "./arguments.ts";
import { type Config, readManagerConfig } from "./config.ts";
import { Fleet } from "./fleet.ts";
import { socketPath } from "./folder.ts";
import { Counters, openHttp } from "./http.ts";
import { ImageCheck } from "./image.ts";
import { bootId, settingsSource, thisMachine } from "./machine.ts";
import { chooseAccel, qemuVersion } from "./probe.ts";
import { managerService } from "./service.ts";
import { vmSpec } from "./spec.ts";
import { greetManagement } from "./upstream.ts";
import { fatal } from "./_fatal.ts";

const log = logger("manager");

/** Kernel parameter that puts a guest's agent into the mode of the Go programs; it is measured. */
const COMPAT = "cocos.mode=compat";

function configOf(args: Arguments): Config {
  const { source, names } = settingsSource(args.config);
  const config = readManagerConfig(source, thisMachine(), names);
  if (!args.guestCompat) return config;
  return {
    ...config,
    template: { ...config.template, cmdline: `${config.template.cmdline} ${COMPAT}` },
  };
}

/** The accelerator of the VMs. A confidential VM exists on KVM only. */
async function accelOf(
  config: Config,
  cacheFile: string | undefined,
  signal: AbortSignal,
): Promise<"kvm" | "tcg"> {
  const version = await qemuVersion(config.template.qemu);
  log.info`using ${version}`;
  if (config.tee !== "none") return "kvm";
  return await chooseAccel({
    wanted: config.kvm,
    probe: config.template,
    initrd: config.probeFile,
    qemuVersion: version,
    bootId: cacheFile === undefined ? undefined : bootId(),
    cacheFile: cacheFile ?? "",
    signal,
  });
}

/** Prints the command of the VM that would be created next, on stdout and nothing else there. */
async function dryRun(config: Config): Promise<void> {
  startLogging("error");
  const id = crypto.randomUUID();
  const signal = stopSignal();
  const stop = new AbortController();
  signal.received.then(() => stop.abort());
  const accel = await accelOf(config, undefined, stop.signal).finally(signal.stop);
  const dir = `${config.stateDir}/vms/${id}`;
  const spec = vmSpec(config.template, {
    id,
    port: config.ports.first,
    accel,
    qmpSocket: socketPath(config.stateDir, config.ports.first),
    certsDir: `${dir}/certs`,
    envDir: `${dir}/env`,
    varsFile: `${dir}/OVMF_VARS.fd`,
    until: undefined,
  });
  console.log(shellText(commandOf(spec)));
}

/** Settles with the first of the signals that end a program. */
function stopSignal(): { readonly received: Promise<string>; readonly stop: () => void } {
  const { promise, resolve } = Promise.withResolvers<string>();
  const signals = ["SIGINT", "SIGTERM"] as const;
  // A task runner passes Ctrl-C on a second time; the handlers stay so that it doesn't kill us.
  const handlers = signals.map((signal) => [signal, () => resolve(signal)] as const);
  for (const [signal, handler] of handlers) Deno.addSignalListener(signal, handler);
  return {
    received: promise,
    stop: () => handlers.forEach(([signal, handler]) => Deno.removeSignalListener(signal, handler)),
  };
}

function banner(config: Config): void {
  const kinds = {
    snp: "Manager started with SEV-SNP enabled",
    tdx: "Manager started with TDX enabled",
    none: "Manager started without confidential computing support",
  };
  if (config.tee === "none") {
    log.warn(`${kinds.none}: its VMs are NOT protected from this host`);
  } else log.info(kinds[config.tee]);
  for (const warning of config.warnings) log.warn`${warning}`;
  if (config.template.firmware === undefined && config.tee === "none") {
    log.warn("VMs start without OVMF: nothing of their boot is measured");
  }
}

async function run(args: Arguments): Promise<void> {
  const config = configOf(args);
  if (args.dryRun) return await dryRun(config);
  startLogging(config.logLevel);
  banner(config);
  const signal = stopSignal();

  // The probe takes seconds where KVM stalls; it runs beside the rest, unless KVM was demanded.
  let accel: Promise<"kvm" | "tcg"> | undefined;
  const stop = new AbortController();
  const choose = () => accel ??= accelOf(config, `${config.stateDir}/kvm.json`, stop.signal);
  await using _probe = {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await accel?.catch(() => {});
    },
  };
  const image = new ImageCheck(config.template.kernel, config.template.initrd);
  await using fleet = await Fleet.open({
    config,
    accel: choose,
    checkImage: () => image.run(),
  });
  await image.run();
  const chosen = choose().then((kind) => log.info`VMs use ${kind}`);
  chosen.catch(() => {}); // looked at below, once the door is open
  if (config.kvm === true) await chosen;
  const counters = new Counters();
  await using _http = config.http === undefined ? undefined : openHttp(config.http, {
    counters,
    vms: () => fleet.list().length,
    instanceId: config.instanceId,
  });
  const { serve } = await import("../proto/mod.ts"); // gRPC is loaded late: --help answers at once
  await using server = await serve({
    ...config.listen,
    services: [managerService(fleet, config, counters)],
    healthName: "manager",
    ...(config.tls === undefined ? {} : {
      tls: {
        cert: await Deno.readTextFile(config.tls.certFile),
        key: await Deno.readTextFile(config.tls.keyFile),
        ...(config.tls.clientCaFile === undefined
          ? {}
          : { clientCa: await Deno.readTextFile(config.tls.clientCaFile) }),
      },
    }),
  });
  const how = { none: "without TLS", tls: "with TLS", mtls: "with mTLS" }[server.protection];
  const address = formatEndpoint({ host: config.listen.host, port: server.port });
  log.info`manager service gRPC server listening at ${address} ${how}`;
  if (config.http !== undefined) {
    log.info`manager service http server listening at ${formatEndpoint(config.http)} without TLS`;
  }
  const greeted = greetManagement(config.management);

  const failed = chosen.then(() => new Promise<never>(() => {}));
  const reason = await Promise.race([signal.received, failed]);
  log.info`stopping on ${reason}`;
  stop.abort();
  await server.close(2_000);
  if (args.removeVmsOnExit) await fleet.removeEvery();
  else if (fleet.list().length > 0) {
    log.info`${fleet.list().length} VM(s) run on and are taken back at the next start`;
  }
  void greeted.catch((error) => log.debug`${messageOf(error)}`);
  signal.stop();
}

if (import.meta.main) {
  try {
    const args = parseArguments(Deno.args);
    if (args.action === "help") console.log(HELP.trimEnd());
    else if (args.action === "version") console.log(`cocos-manager ${VERSION}`);
    else await run(args);
    Deno.exit(0);
  } catch (error) {
    fatal(error);
  }
}
