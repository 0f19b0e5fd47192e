// The commands about evidence in the tree of `cocos` (wire.md §6 and §6.1). Flags keep the Go CLI's
// names; the values are judged where they are used.
import { Argument, type Command, InvalidArgumentError, Option } from "commander";
import { CLOUDS, EVIDENCE_KINDS, MODES } from "./invocation.ts";
import type { AttestInvocation, MeasureFlags, ValidateFlags } from "./invocation.ts";

type Take = (invocation: AttestInvocation) => void;

function path(text: string): string {
  // deno-lint-ignore no-control-regex
  if (text === "" || /[,\x00-\x1f]/.test(text)) {
    throw new InvalidArgumentError(
      `must be a path without comma or control character, is ${JSON.stringify(text)}`,
    );
  }
  return text;
}

const collect = (text: string, before: string[]) => [...before, text];
const collectPaths = (text: string, before: string[]) => [...before, path(text)];
const splitPaths = (text: string, before: string[]) => [...before, ...text.split(",").map(path)];

function truth(text: string): boolean {
  if (/^(?:1|t|true)$/i.test(text)) return true;
  if (/^(?:0|f|false)$/i.test(text)) return false;
  throw new InvalidArgumentError(`must be true or false, is ${JSON.stringify(text)}`);
}

const file = (name: string, description: string) =>
  new Argument(`<${name}>`, description).argParser(path);
const fileOption = (flags: string, description: string) =>
  new Option(flags, description).argParser(path);
/** A flag that may stand alone or with a value, as in Go. */
const boolOption = (flags: string, description: string) =>
  new Option(`${flags} [bool]`, description).argParser(truth).preset("true");
const force = (what: string) => new Option("-f, --force", `replace an existing ${what}`);

/** Adds the commands; `take` gets the invocation that was parsed. */
export function addAttestCommands(program: Command, take: Take): void {
  addAttestation(program, take);
  addPolicy(program, take);
  program.command("verify")
    .description("judge an offline bundle: evidence, collateral, policy and time in one file")
    .addArgument(file("bundle", "file that `attestation validate --bundle` wrote"))
    .option("--offline", "use no network; this command never does")
    .addOption(fileOption("--policy <file>", "your own policy, instead of the bundle's"))
    .option("--time <time>", "judge at this time (2026-12-31T00:00:00Z), not at the bundle's")
    .option("--report_data <hex>", "the report data you asked with, not the bundle's")
    .option("--host_data <hex>", "the host data you expect, not the bundle's")
    .option("--user_data <hex>", "the user-data you expect in an HCL report, not the bundle's")
    .option("--nonce <hex>", "the nonce you asked with, not the bundle's")
    .addOption(fileOption("--eat <file>", "write the result as an attestation result (JSON)"))
    .action((bundle, { policy, time, eat, report_data, host_data, user_data, nonce }) =>
      take({
        command: "verify",
        bundle,
        ...given({ policy, time, eat, report_data, host_data, user_data, nonce }),
      })
    );
  addMeasure(program, take);
  program.command("ca-bundle")
    .description("fetch AMD's certificates for a policy's product into ~/.cocos")
    .addArgument(file("policy", "policy file (JSON)"))
    .action((policy) => take({ command: "ca-bundle", policy }));
  program.command("ima-measurements")
    .description("fetch the Linux IMA list from the agent and replay it")
    .addArgument(
      new Argument("[file]", "file to write, or to check").argParser(path)
        .default("ima_measurements"),
    )
    .option("--pcr10 <hex>", "check the file that is there against this PCR 10; no agent is asked")
    .addOption(force("file"))
    .action((file, { pcr10, force = false }) =>
      take({ command: "ima-measurements", file, ...given({ pcr10 }), force })
    );
}

function addAttestation(program: Command, take: Take): void {
  const attestation = program.command("attestation")
    .description("fetch evidence from the agent, and judge it");
  attestation.command("get")
    .description("fetch evidence from the agent (AGENT_GRPC_URL) into a file here")
    .addArgument(new Argument("<kind>", "kind of evidence").choices(EVIDENCE_KINDS))
    .option("--tee <hex>", "nonce for the hardware report, at most 64 bytes")
    .option("--vtpm <hex>", "nonce for the TPM quote, at most 32 bytes")
    .option("--token <hex>", "nonce for the Azure token, at most 32 bytes")
    .option("-r, --reporttextproto", "write text instead of binary")
    .option("-t, --azurejwt", "write the Azure token itself")
    .addOption(force("file"))
    .action((kind, options) =>
      take({
        command: "attestation get",
        kind,
        ...given({ tee: options.tee, vtpm: options.vtpm, token: options.token }),
        text: options.reporttextproto ?? false,
        jwt: options.azurejwt ?? false,
        force: options.force ?? false,
      })
    );
  const validate = attestation.command("validate")
    .description("judge an evidence file under a policy, or under the flags")
    .addArgument(file("file", "evidence: a report, a quote, an attestation"));
  addValidateOptions(validate);
  validate.action((file, options) =>
    take({ command: "attestation validate", file, flags: options as ValidateFlags })
  );
}

function addValidateOptions(command: Command): void {
  command
    .addOption(new Option("--mode <mode>", "kind of evidence (default snp)").choices(MODES))
    .addOption(new Option("--cloud <cloud>", "where it runs").choices(CLOUDS).default("none"))
    .addOption(fileOption("--config <file>", "policy: ours, or a JSON file of the Go programs"))
    .option("--report_data <hex>", "the 64 bytes the report was asked with")
    .option("--nonce <hex>", "the nonce the TPM quote was asked with")
    .option("--product <line>", "product line of the CPU: Milan, Genoa, Turin")
    .addOption(
      new Option("--format <format>", "form of a vtpm file").choices(["binarypb", "textproto"]),
    )
    .addOption(fileOption("--output <file>", "write the vtpm evidence as text when it holds"));
  for (
    const [name, bytes] of [
      ["host_data", 32],
      ["family_id", 16],
      ["image_id", 16],
      ["report_id", 32],
      ["report_id_ma", 32],
      ["measurement", 48],
      ["chip_id", 64],
      ["qe_vendor_id", 16],
      ["mr_seam", 48],
      ["td_attributes", 8],
      ["xfam", 8],
      ["mr_td", 48],
      ["mr_config_id", 48],
      ["mr_owner", 48],
      ["mr_config_owner", 48],
      ["minimum_tee_tcb_svn", 16],
    ] as const
  ) command.option(`--${name} <hex>`, `${bytes} bytes, or any`);
  for (
    const [name, what] of [
      ["minimum_tcb", "REPORTED_TCB, at least"],
      ["minimum_lauch_tcb", "LAUNCH_TCB, at least (spelled as the Go CLI does)"],
      ["guest_policy", "guest policy bits (default 0x30000)"],
      ["minimum_guest_svn", "guest SVN, at least"],
      ["minimum_build", "firmware build, at least"],
      ["minimum_version", "firmware version, at least (default 0.0)"],
      ["platform_info", "platform bits"],
      ["stepping", "stepping of the CPU"],
      ["minimum_qe_svn", "SVN of the quoting enclave, at least"],
      ["minimum_pce_svn", "SVN of the PCE, at least"],
      ["timeout", "taken and not used"],
      ["max_retry_delay", "taken and not used"],
      ["rtmrs", "four values of 48 bytes with commas between, or any"],
      ["vmpl", "privilege level the report must be of (0 to 3), or any"],
      ["time", "judge at this time (2026-12-31T00:00:00Z), not now"],
    ] as const
  ) command.option(`--${name} <value>`, what);
  command
    .addOption(boolOption("--check_crl", "require AMD's revocation lists"))
    .addOption(boolOption("--require_author_key", "the ID block must have an author key"))
    .addOption(boolOption("--require_id_block", "there must be an ID block of a trusted key"))
    .addOption(boolOption("--get_collateral", "require Intel's collateral (default true)"));
  for (const name of ["trusted_author_keys", "trusted_id_keys", "CA_bundles_paths"]) {
    command.option(`--${name} <file>`, "file; repeat for more", collectPaths, []);
  }
  for (const name of ["trusted_author_key_hashes", "trusted_id_key_hashes"]) {
    command.option(`--${name} <hex>`, "48 bytes; repeat for more", collect, []);
  }
  command
    .option("--CA_bundles <pem>", "root and intermediate as text; repeat for more", collect, [])
    .option("--trusted_root <files>", "PEM files with commas between", splitPaths, [])
    .option("--ak <hex>", "SHA-256 of a pinned attestation key; repeat for more", collect, [])
    .addOption(new Option("--pcrs <word>", "accept any PCR values").choices(["any"]))
    .addOption(fileOption("--event_log <file>", "TCG log or CCEL to judge with a policy"))
    .addOption(fileOption("--ima <file>", "Linux IMA list to judge with a policy"))
    .addOption(fileOption("--hcl_report <file>", "HCL report of an Azure VM"))
    .option("--user_data <hex>", "the 64 bytes an HCL report must carry as user-data, or any")
    .addOption(fileOption("--keys <file>", "key set of the Azure attestation instance (JSON)"))
    .addOption(fileOption("--endorsement <file>", "Google's launch endorsement"))
    .addOption(fileOption("--bundle <file>", "write everything that was used as an offline bundle"))
    .addOption(fileOption("--eat <file>", "write the result as an attestation result (JSON)"))
    .option("--offline", "fetch nothing: use the file, and collateral that is still valid", false);
}

function addPolicy(program: Command, take: Take): void {
  const policy = program.command("policy").description("write, change and read policies");
  for (const name of ["measurement", "hostdata"] as const) {
    policy.command(name)
      .description(`set the ${name === "hostdata" ? "host data" : name} of a policy file`)
      .addArgument(new Argument("<base64>", name === "hostdata" ? "32 bytes" : "48 bytes"))
      .addArgument(file("policy", "policy file, changed in place"))
      .action((value, file) => take({ command: `policy ${name}`, value, file }));
  }
  policy.command("extend")
    .description("put manifests into PCR 16 of a policy, as the agent extends it")
    .addArgument(file("policy", "policy file, changed in place"))
    .argument("<manifests...>", "manifest files, in order")
    .action((file, manifests) =>
      take({ command: "policy extend", file, manifests: manifests.map(path) })
    );
  for (
    const [name, what] of [
      ["lint", "name every hole of a policy"],
      ["explain", "print each check that will run"],
    ] as const
  ) {
    policy.command(name)
      .description(what)
      .addArgument(file("policy", "policy file"))
      .action((file) => take({ command: `policy ${name}`, file }));
  }
  policy.command("diff")
    .description("print the values that differ between two policies")
    .addArgument(file("before", "policy file"))
    .addArgument(file("after", "policy file"))
    .action((before, after) => take({ command: "policy diff", before, after }));
  policy.command("import")
    .description("take over a policy or PCR file of the Go programs, and say what it leaves open")
    .addArgument(file("file", "JSON file"))
    .option("--product <line>", "product line, where the file names none")
    .addOption(fileOption("-o, --output <file>", "write it here instead of printing it"))
    .action((file, { product, output }) =>
      take({ command: "policy import", file, ...given({ product, output }) })
    );
  policy.command("generate")
    .description("make a strict policy from the evidence of a VM you know to be good")
    .addArgument(file("evidence", "report or quote"))
    .addOption(new Option("--mode <mode>", "kind").choices(["snp", "tdx"]).default("snp"))
    .option("--product <line>", "product line of a report before version 3")
    .option("--trusted_root <files>", "PEM files of own roots", splitPaths, [])
    .option("--time <time>", "judge at this time, not now")
    .option("--offline", "fetch nothing", false)
    .addOption(fileOption("-o, --output <file>", "write it here instead of printing it"))
    .action((file, { mode, product, trusted_root, time, offline, output }) =>
      take({
        command: "policy generate",
        file,
        mode,
        roots: trusted_root,
        offline,
        ...given({ product, time, output }),
      })
    );
  policy.command("gcp")
    .description("make a policy from Google's endorsement of a measurement")
    .addArgument(file("attestation", "SNP evidence"))
    .argument("<vcpus>", "number of vCPUs")
    .option("-j, --json", "the attestation is JSON", false)
    .addOption(fileOption("--root <file>", "Google's root certificate (PEM)"))
    .addOption(fileOption("-o, --output <file>", "policy file").default("attestation_policy.json"))
    .action((file, vcpus, { json, root, output }) =>
      take({ command: "policy gcp", file, vcpus, json, output, ...given({ root }) })
    );
  policy.command("download")
    .description("fetch the firmware Google endorses for a measurement, as ovmf.fd")
    .addArgument(file("attestation", "SNP evidence"))
    .option("-j, --json", "the attestation is JSON", false)
    .action((file, { json }) => take({ command: "policy download", file, json }));
  policy.command("azure")
    .description("make a policy from an Azure attestation token")
    .addArgument(file("token", "token file (JWT)"))
    .argument("<product>", "Milan or Genoa")
    .option("--policy <number>", "guest policy bits", "196639")
    .option("--user_data <hex>", "the 64 bytes an HCL report must carry as user-data, or any")
    .addOption(fileOption("--keys <file>", "key set of the instance, to check the signature"))
    .addOption(fileOption("-o, --output <file>", "policy file").default("attestation_policy.json"))
    .action((file, product, { policy, keys, output }) =>
      take({ command: "policy azure", file, product, policy, output, ...given({ keys }) })
    );
}

function addMeasure(program: Command, take: Take): void {
  program.command("igvmmeasure")
    .alias("measure-igvm")
    .description("compute the launch measurement of an IGVM file")
    .addArgument(file("file", "IGVM file"))
    .option("--check-kvm", "refuse files that KVM launches with another measurement", false)
    .option("--native-zero", "measure pages without data as zero pages", false)
    .addOption(
      new Option("--platform <platform>", "platform").choices(["snp", "sev", "sev-es"])
        .default("snp"),
    )
    .option("--explain <hex>", "say why this reported measurement is another one")
    .action((file, { checkKvm, nativeZero, platform, explain }) =>
      take({
        command: "igvmmeasure",
        file,
        kvm: checkKvm,
        nativeZero,
        platform,
        ...given({ explain }),
      })
    );
  program.command("sevsnpmeasure")
    .description("compute the launch measurement of firmware, kernel, command line and CPUs")
    .requiredOption("--mode <mode>", "snp, snp:ovmf-hash, snp:svsm, seves, sev")
    .option("--vcpus <n>", "number of vCPUs")
    .option("--vcpu-type <type>", "CPU model of QEMU, such as EPYC-v4")
    .option("--vcpu-sig <number>", "CPUID signature of the CPU")
    .option("--vcpu-family <number>", "family of the CPU")
    .option("--vcpu-model <number>", "model of the CPU")
    .option("--vcpu-stepping <number>", "stepping of the CPU")
    .option("--vmm-type <type>", "hypervisor: QEMU, ec2, gce", "QEMU")
    .addOption(fileOption("--ovmf <file>", "firmware"))
    .addOption(fileOption("--kernel <file>", "kernel"))
    .addOption(fileOption("--initrd <file>", "initial file system"))
    .option("--append <text>", "kernel command line")
    .option("--guest-features <number>", "SEV_FEATURES", "0x1")
    .option("--snp-ovmf-hash <hex>", "digest of the firmware that mode snp:ovmf-hash printed")
    .addOption(fileOption("--svsm <file>", "SVSM binary, for mode snp:svsm"))
    .option("--vars-size <bytes>", "size of the variable store, for mode snp:svsm")
    .addOption(fileOption("--vars-file <file>", "variable store, for its size"))
    .addOption(
      new Option("--output-format <format>", "form").choices(["hex", "base64"]).default("hex"),
    )
    .option("--explain <hex>", "say why this reported measurement is another one")
    .action((flags) => take({ command: "sevsnpmeasure", flags: flags as MeasureFlags }));
}

/** Drops absent options, so that the result fits exact optional properties. */
function given<T extends Record<string, string | undefined>>(values: T) {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: string };
}
