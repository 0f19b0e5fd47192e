// The invocations of the commands about evidence, as data: which files, which values, which choices.
// Nothing here opens or judges anything.

/** What `attestation get` asks the agent for. */
export const EVIDENCE_KINDS = ["snp", "vtpm", "snp-vtpm", "azure-token", "tdx"] as const;

/** Ways to read an evidence file (wire.md §6.1); the last three are ours. */
export const MODES = ["snp", "vtpm", "snp-vtpm", "tdx", "azure-token", "simulated"] as const;

/** A way to read an evidence file. */
export type Mode = (typeof MODES)[number];

/** Whose cloud the machine is in: it says how a TPM's key is bound. */
export const CLOUDS = ["none", "azure", "gcp"] as const;

/** Flags of `attestation validate` as typed; names are the Go CLI's, with its spelling. */
export interface ValidateFlags {
  readonly mode?: Mode;
  readonly cloud: (typeof CLOUDS)[number];
  readonly config?: string;
  readonly report_data?: string;
  readonly nonce?: string;
  readonly product?: string;
  readonly format?: "binarypb" | "textproto";
  readonly output?: string;
  readonly host_data?: string;
  readonly family_id?: string;
  readonly image_id?: string;
  readonly report_id?: string;
  readonly report_id_ma?: string;
  readonly measurement?: string;
  readonly chip_id?: string;
  readonly minimum_tcb?: string;
  readonly minimum_lauch_tcb?: string;
  readonly guest_policy?: string;
  readonly minimum_guest_svn?: string;
  readonly minimum_build?: string;
  readonly minimum_version?: string;
  readonly platform_info?: string;
  readonly stepping?: string;
  readonly check_crl?: boolean;
  readonly require_author_key?: boolean;
  readonly require_id_block?: boolean;
  readonly timeout?: string;
  readonly max_retry_delay?: string;
  readonly trusted_author_keys: readonly string[];
  readonly trusted_author_key_hashes: readonly string[];
  readonly trusted_id_keys: readonly string[];
  readonly trusted_id_key_hashes: readonly string[];
  readonly CA_bundles_paths: readonly string[];
  readonly CA_bundles: readonly string[];
  readonly qe_vendor_id?: string;
  readonly mr_seam?: string;
  readonly td_attributes?: string;
  readonly xfam?: string;
  readonly mr_td?: string;
  readonly mr_config_id?: string;
  readonly mr_owner?: string;
  readonly mr_config_owner?: string;
  readonly minimum_tee_tcb_svn?: string;
  readonly rtmrs?: string;
  readonly trusted_root: readonly string[];
  readonly minimum_qe_svn?: string;
  readonly minimum_pce_svn?: string;
  readonly get_collateral?: boolean;
  /** Ours from here on. */
  readonly vmpl?: string;
  readonly ak: readonly string[];
  readonly pcrs?: "any";
  readonly event_log?: string;
  readonly ima?: string;
  readonly hcl_report?: string;
  readonly user_data?: string;
  readonly keys?: string;
  readonly endorsement?: string;
  readonly time?: string;
  readonly bundle?: string;
  readonly eat?: string;
  readonly offline: boolean;
}

/** Flags of `sevsnpmeasure`, those of AMD's tool. */
export interface MeasureFlags {
  readonly mode: string;
  readonly vcpus?: string;
  readonly vcpuType?: string;
  readonly vcpuSig?: string;
  readonly vcpuFamily?: string;
  readonly vcpuModel?: string;
  readonly vcpuStepping?: string;
  readonly vmmType: string;
  readonly ovmf?: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly guestFeatures: string;
  readonly snpOvmfHash?: string;
  readonly svsm?: string;
  readonly varsSize?: string;
  readonly varsFile?: string;
  readonly outputFormat: "hex" | "base64";
  /** A reported measurement to be explained. */
  readonly explain?: string;
}

/** One parsed command about evidence. */
export type AttestInvocation =
  | {
    readonly command: "attestation get";
    readonly kind: (typeof EVIDENCE_KINDS)[number];
    readonly tee?: string;
    readonly vtpm?: string;
    readonly token?: string;
    readonly text: boolean;
    readonly jwt: boolean;
    readonly force: boolean;
  }
  | {
    readonly command: "attestation validate";
    readonly file: string;
    readonly flags: ValidateFlags;
  }
  | {
    readonly command: "verify";
    readonly bundle: string;
    /** Replaces the bundle's own policy. */
    readonly policy?: string;
    /** Replaces the bundle's own time. */
    readonly time?: string;
    /** Values of your own session, in place of the bundle's. */
    readonly report_data?: string;
    readonly host_data?: string;
    readonly user_data?: string;
    readonly nonce?: string;
    readonly eat?: string;
  }
  | {
    readonly command: "policy measurement" | "policy hostdata";
    readonly value: string;
    readonly file: string;
  }
  | { readonly command: "policy extend"; readonly file: string; readonly manifests: string[] }
  | { readonly command: "policy lint" | "policy explain"; readonly file: string }
  | { readonly command: "policy diff"; readonly before: string; readonly after: string }
  | {
    readonly command: "policy import";
    readonly file: string;
    readonly product?: string;
    readonly output?: string;
  }
  | {
    readonly command: "policy generate";
    readonly file: string;
    readonly mode: "snp" | "tdx";
    readonly product?: string;
    readonly roots: readonly string[];
    readonly time?: string;
    readonly offline: boolean;
    readonly output?: string;
  }
  | {
    readonly command: "policy gcp";
    readonly file: string;
    readonly vcpus: string;
    readonly json: boolean;
    readonly root?: string;
    readonly output: string;
  }
  | { readonly command: "policy download"; readonly file: string; readonly json: boolean }
  | {
    readonly command: "policy azure";
    readonly file: string;
    readonly product: string;
    readonly policy: string;
    readonly keys?: string;
    readonly output: string;
  }
  | {
    readonly command: "igvmmeasure";
    readonly file: string;
    readonly kvm: boolean;
    readonly nativeZero: boolean;
    readonly platform: "snp" | "sev" | "sev-es";
    readonly explain?: string;
  }
  | { readonly command: "sevsnpmeasure"; readonly flags: MeasureFlags }
  | { readonly command: "ca-bundle"; readonly policy: string }
  | {
    readonly command: "ima-measurements";
    readonly file: string;
    /** Compares a file that is there already with this value of PCR 10, in hex. */
    readonly pcr10?: string;
    readonly force: boolean;
  };

/** First words of the commands about evidence. */
const WORDS = [
  "attestation",
  "verify",
  "policy",
  "igvmmeasure",
  "sevsnpmeasure",
  "ca-bundle",
  "ima-measurements",
];

/** Whether an invocation is one of these. */
export function isAttest<T extends { readonly command: string }>(
  invocation: T,
): invocation is Extract<T, AttestInvocation> {
  return WORDS.includes(invocation.command.split(" ")[0] ?? "");
}
