// What an image's configuration asks for, and what of it is granted. OCI image-spec, config.md. The
// engine reads it with a parser that doesn't mind upper and lower case: neither do we, and what the
// engine made of it is compared afterwards.
import { refuse } from "../contract.ts";

/** Most bytes of a configuration or a manifest. */
export const MAX_JSON = 1 << 20;
/** Most layers; more can't be mounted. */
export const MAX_LAYERS = 125;
/** Most bytes of all variables, or of the whole command. */
const MAX_WORDS = 64 << 10;
const MAX_VARIABLES = 256;

/** Directory the algorithm starts in unless its image names one. */
export const DEFAULT_WORKDIR = "/cocos";

/** What is granted. */
export interface ImageConfig {
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  /** `NAME=value`. */
  readonly environment: readonly string[];
  readonly workdir: string;
  /** SHA-256 of each layer's tar, hex, the lowest first. */
  readonly layers: readonly string[];
}

/** An object of a document whose names differ in more than their case. */
export type Json = Readonly<Record<string, unknown>>;

/**
 * Reads JSON whose members are found by lower-case name.
 *
 * @throws {CocosError} `invalid-argument`, which names the document.
 */
export function readJson(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    refuse(`The image's ${what} isn't JSON`, cause);
  }
}

/** A value as an object with lower-case names; nothing is an empty one. */
export function objectOf(value: unknown, what: string): Json {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) refuse(`The image's ${what} is no object`);
  const members = new Map<string, unknown>();
  for (const [name, member] of Object.entries(value)) {
    const lower = name.toLowerCase();
    if (members.has(lower)) refuse(`The image's ${what} has ${JSON.stringify(name)} twice`);
    members.set(lower, member);
  }
  return Object.fromEntries(members);
}

/** A value as a list; nothing is an empty one. */
export function listOf(value: unknown, what: string, most: number): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > most) {
    refuse(`The image's ${what} is no list of at most ${most}`);
  }
  return value;
}

function words(value: unknown, what: string, most: number): string[] {
  const list = listOf(value, what, most).map((word) => {
    if (typeof word !== "string" || word.includes("\0") || !word.isWellFormed()) {
      refuse(`The image's ${what} isn't made of texts without NUL`);
    }
    return word;
  });
  if (list.join("").length > MAX_WORDS) refuse(`The image's ${what} is over ${MAX_WORDS} bytes`);
  return list;
}

/** `sha256:` and 64 hexadecimal digits; answers the digits. */
export function digestOf(value: unknown, what: string): string {
  const digits = typeof value === "string" ? /^sha256:([0-9a-f]{64})$/.exec(value)?.[1] : undefined;
  return digits ?? refuse(`The image's ${what} has no SHA-256 digest`);
}

function workdirOf(value: unknown): string {
  if (value === undefined || value === null || value === "" || value === "/") {
    return DEFAULT_WORKDIR;
  }
  // `/proc/self/fd/N` leads to what the engine's runtime has open (CVE-2024-21626).
  if (
    typeof value !== "string" || !/^(\/[A-Za-z0-9._+@-]+)+\/?$/.test(value) ||
    /(^|\/)\.\.?(\/|$)/.test(value) || /^\/(proc|sys|dev)(\/|$)/.test(value) || value.length > 1024
  ) {
    refuse("The image's WORKDIR must be a plain absolute path outside /proc, /sys and /dev");
  }
  return value.replace(/\/$/, "");
}

function environmentOf(value: unknown): string[] {
  const variables = words(value, "environment", MAX_VARIABLES);
  for (const variable of variables) {
    const name = /^([A-Za-z_][A-Za-z0-9_]*)=/.exec(variable)?.[1];
    // The engine's own runtime reads variables of these names before the algorithm is started.
    if (name === undefined || /^(_LIBCONTAINER|LISTEN_)/.test(name)) {
      refuse(`The image sets the variable ${JSON.stringify(variable.slice(0, 40))}`);
    }
  }
  return variables;
}

/**
 * Reads an image configuration. User, ports, labels, health check, stop signal and history are not
 * looked at: the container gets ours. A volume can't be taken back by us, so it is refused.
 *
 * @throws {CocosError} `invalid-argument` for what is malformed or can't be granted.
 */
export function readConfig(bytes: Uint8Array): ImageConfig {
  const image = objectOf(readJson(bytes, "configuration"), "configuration");
  if (image["os"] !== "linux" || image["architecture"] !== "amd64") {
    refuse("The image isn't for linux/amd64");
  }
  const config = objectOf(image["config"], "config");
  if (Object.keys(objectOf(config["volumes"], "VOLUME")).length > 0) {
    refuse("The image declares a VOLUME: results go to /cocos/results and nothing else is kept");
  }
  const rootfs = objectOf(image["rootfs"], "rootfs");
  const layers = listOf(rootfs["diff_ids"], "list of layers", MAX_LAYERS)
    .map((each) => digestOf(each, "layer"));
  if (layers.length === 0) refuse("The image has no layers");
  return {
    entrypoint: words(config["entrypoint"], "ENTRYPOINT", 1024),
    command: words(config["cmd"], "CMD", 1024),
    environment: environmentOf(config["env"]),
    workdir: workdirOf(config["workingdir"]),
    layers,
  };
}

/**
 * The whole command: arguments take the place of CMD behind an ENTRYPOINT, as with `docker run`;
 * without one they follow CMD.
 */
export function commandOf(config: ImageConfig, args: readonly string[]): readonly string[] {
  const { entrypoint, command } = config;
  const whole = entrypoint.length > 0 && args.length > 0
    ? [...entrypoint, ...args]
    : [...entrypoint, ...command, ...args];
  if (whole[0] === undefined || whole[0] === "") refuse("The image names no command to run");
  return whole;
}
