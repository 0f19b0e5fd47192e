// Where collateral comes from, and where it is kept: addresses from variables, so that a mirror can
// be named. What the servers send is never trusted; it is signed, or it is nothing.
import { CocosError, type Field, readConfig, type Source } from "../../base/mod.ts";

/** Addresses; no slash at the end. */
export interface Servers {
  /** AMD Key Distribution Service. */
  readonly amd: string;
  /** Intel Provisioning Certification Service. */
  readonly intel: string;
  /** Full URL of the revocation list of Intel's root. */
  readonly intelRootCrl: string;
  /** Google Cloud Storage. */
  readonly google: string;
}

/** A base URL: http or https, a host, no credentials, query or fragment. */
function url(fallback: string): Field<string> {
  return {
    fallback,
    parse: (text) => {
      const parsed = URL.canParse(text) ? new URL(text) : undefined;
      if (
        parsed === undefined || !["http:", "https:"].includes(parsed.protocol) ||
        parsed.username !== "" || parsed.password !== "" || parsed.search !== "" ||
        parsed.hash !== "" || text.length > 512
      ) throw new RangeError("must be an http(s) URL without credentials, query and fragment");
      return parsed.href.replace(/\/+$/, "");
    },
  };
}

const FIELDS = {
  COCOS_AMD_KDS_URL: url("https://kdsintf.amd.com"),
  COCOS_INTEL_PCS_URL: url("https://api.trustedservices.intel.com"),
  COCOS_INTEL_ROOT_CRL_URL: url(
    "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
  ),
  COCOS_GOOGLE_STORAGE_URL: url("https://storage.googleapis.com"),
};

/** Names of the variables. */
export const SERVER_VARIABLES: readonly string[] = [...Object.keys(FIELDS), "HOME"];

/**
 * Reads the addresses.
 *
 * @throws {CocosError} `invalid-config` that names every wrong variable.
 */
export function readServers(env: Source): Servers {
  const values = readConfig(FIELDS, (name) => env(name) || undefined);
  return {
    amd: values.COCOS_AMD_KDS_URL,
    intel: values.COCOS_INTEL_PCS_URL,
    intelRootCrl: values.COCOS_INTEL_ROOT_CRL_URL,
    google: values.COCOS_GOOGLE_STORAGE_URL,
  };
}

/**
 * The folder of ours below HOME.
 *
 * @throws {CocosError} `invalid-config` when HOME is not an absolute path.
 */
export function homeFolder(env: Source): string {
  const home = env("HOME") ?? "";
  // deno-lint-ignore no-control-regex
  if (!home.startsWith("/") || /[,\x00-\x1f]/.test(home)) {
    throw new CocosError("invalid-config", "Cannot find the folder .cocos: HOME is not set", {
      hint: "Set HOME to an absolute path without comma, or use --offline.",
    });
  }
  return `${home.replace(/\/+$/, "")}/.cocos`;
}

/** The folder of kept collateral. */
export function cacheFolder(env: Source): string {
  return `${homeFolder(env)}/cache`;
}

/** `host:port` of a URL, as a permission list has it. */
export function hostOf(address: string): string {
  const { hostname, port, protocol } = new URL(address);
  return `${hostname}:${port || (protocol === "https:" ? 443 : 80)}`;
}
