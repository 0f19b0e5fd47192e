// The machine's own package mirrors, read from apt's configuration; a private apt root beside it.
// Nothing of the system's apt is changed, and signatures stay checked with the machine's keys.
import { CocosError } from "../base/mod.ts";
import { run } from "./_run.ts";

/** One source of packages, as both of apt's formats describe it. */
export interface AptSource {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** Path of a keyring, empty for apt's default keys. */
  readonly signedBy: string;
}

/** Reads one-line sources (sources.list(5), `deb [options] uri suite components`). */
export function parseOneLine(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line);
    if (match === null) continue;
    const [, options = "", uri = "", suite = "", components = ""] = match;
    sources.push({
      uris: [uri],
      suites: [suite],
      components: words(components),
      signedBy: /(?:^|\s)signed-by=(\/\S+)/i.exec(options)?.[1] ?? "",
    });
  }
  return sources;
}

/** Reads deb822 sources (`Types:`, `URIs:`, `Suites:`, …; stanzas parted by empty lines). */
export function parseDeb822(text: string): AptSource[] {
  const sources: AptSource[] = [];
  const lines = text.split("\n").filter((line) => !line.startsWith("#"));
  for (const stanza of lines.join("\n").split(/\n\s*\n/)) {
    const fields = new Map<string, string>();
    let field = "";
    for (const line of stanza.split("\n")) {
      const start = /^([A-Za-z0-9-]+):\s*(.*)$/.exec(line);
      if (start !== null) {
        field = (start[1] as string).toLowerCase();
        fields.set(field, start[2] as string);
      } else if (/^\s/.test(line)) {
        fields.set(field, `${fields.get(field) ?? ""} ${line.trim()}`);
      }
    }
    const enabled = !/^(no|false|0|off|disable)$/i.test(fields.get("enabled") ?? "yes");
    if (!enabled || !words(fields.get("types") ?? "").includes("deb")) continue;
    const signedBy = fields.get("signed-by")?.trim() ?? "";
    sources.push({
      uris: words(fields.get("uris") ?? ""),
      suites: words(fields.get("suites") ?? ""),
      components: words(fields.get("components") ?? ""),
      signedBy: signedBy.startsWith("/") ? signedBy : "",
    });
  }
  return sources;
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

/** All sources this machine is configured with. */
export async function machineSources(etc = "/etc/apt"): Promise<AptSource[]> {
  const sources: AptSource[] = [];
  for (const path of [`${etc}/sources.list`, ...await partsOf(`${etc}/sources.list.d`)]) {
    let text: string;
    try {
      text = await Deno.readTextFile(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      throw error;
    }
    sources.push(...(path.endsWith(".sources") ? parseDeb822(text) : parseOneLine(text)));
  }
  return sources;
}

async function partsOf(folder: string): Promise<string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(folder));
    return entries.map(({ name }) => `${folder}/${name}`).filter((path) =>
      /\.(list|sources)$/.test(path)
    ).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Suites to take packages from, and their components. */
export interface Wanted {
  /** Code name. */
  readonly suite: string;
  /** Other suites of the main mirror. */
  readonly moreSuites: readonly string[];
  readonly components: readonly string[];
}

/**
 * One-line sources for the wanted suites, from the mirrors the machine uses for its own.
 *
 * `own` is the machine's code name (`bookworm`); the wanted one may be another of the same
 * distribution. The security suite often has a mirror of its own; it is left out where the machine
 * has none configured.
 *
 * @throws {CocosError} `not-found` when no configured source carries the machine's own suite.
 */
export function privateSources(
  sources: readonly AptSource[],
  own: string,
  { suite, moreSuites, components }: Wanted,
): string {
  const lines: string[] = [];
  for (const component of components) {
    const of = (name: string) =>
      sources.find((source) =>
        source.suites.includes(name) && source.components.includes(component)
      );
    const main = of(own);
    if (main === undefined) {
      throw new CocosError(
        "not-found",
        `Cannot find a package mirror: no source of apt's configuration has the suite ${own} with ${component}`,
        { hint: `Add the distribution's own source for ${own} to apt and start again.` },
      );
    }
    const line = ({ uris: [uri], signedBy }: AptSource, name: string) =>
      `deb ${signedBy === "" ? "" : `[signed-by=${signedBy}] `}${uri} ${name} ${component}\n`;
    for (const name of [suite, ...moreSuites]) lines.push(line(of(name) ?? main, name));
    const security = of(`${own}-security`);
    if (security !== undefined) lines.push(line(security, `${suite}-security`));
  }
  return lines.join("");
}

/** Lines of `apt-config dump` that say how to reach a mirror (proxies, time-outs, certificates). */
export function acquireSettings(dump: string): string {
  return dump.split("\n").filter((line) =>
    /^Acquire::(http|https|ftp|Retries|ForceIPv4|Check-)/.test(line)
  ).map((line) => `${line}\n`).join("");
}

/** A fetch takes seconds to a minute; after this time it is taken for stalled. */
const STALLED_MS = 180_000;

/** How often a stalled fetch is begun. */
const ATTEMPTS = 4;

/** An apt with configuration, lists and cache of its own, under one folder. */
export class PrivateApt {
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
  }

  /** Makes the folder and fetches the package lists. */
  static async open(root: string, sourcesText: string): Promise<PrivateApt> {
    const acquire = acquireSettings(await run("apt-config", ["dump"]));
    await Deno.mkdir(`${root}/lists/partial`, { recursive: true });
    await Deno.mkdir(`${root}/cache/archives/partial`, { recursive: true });
    await Deno.writeTextFile(`${root}/status`, "");
    await Deno.writeTextFile(`${root}/sources.list`, sourcesText);
    await Deno.writeTextFile(
      `${root}/apt.conf`,
      `Acquire::Retries "5";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Acquire::http::Pipeline-Depth "0";
${acquire}Dir::State "${root}";
Dir::State::lists "${root}/lists";
Dir::State::status "${root}/status";
Dir::Cache "${root}/cache";
Dir::Cache::archives "${root}/cache/archives";
Dir::Etc::sourcelist "${root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::ForceHash "SHA256";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "";
`,
    );
    const apt = new PrivateApt(root);
    await apt.#get(["update", "-qq"]);
    return apt;
  }

  /** Runs apt-get; a mirror that stops answering in the middle is asked again. */
  async #get(args: string[], cwd?: string): Promise<string> {
    for (let attempt = 1;; attempt++) {
      try {
        return await run("apt-get", args, { ...this.#options(cwd), limitMs: STALLED_MS });
      } catch (error) {
        if (!(error instanceof CocosError) || error.code !== "timeout" || attempt === ATTEMPTS) {
          throw error;
        }
      }
    }
  }

  #options(cwd?: string) {
    return {
      env: { APT_CONFIG: `${this.#root}/apt.conf` },
      hint: "Check the network and apt's own configuration (`apt-get update` must work).",
      ...(cwd === undefined ? {} : { cwd }),
    };
  }

  /** Versions a package can be had in, the newest first, with the suite of each. */
  async versions(names: readonly string[]): Promise<Map<string, Version[]>> {
    return parseMadison(await run("apt-cache", ["madison", ...names], this.#options()));
  }

  /** The control fields of one version of a package. */
  async depends(name: string, version: string): Promise<string> {
    const shown = await run("apt-cache", ["show", `${name}=${version}`], this.#options());
    return /^Depends: (.*)$/m.exec(shown)?.[1] ?? "";
  }

  /** File name and SHA-256 (hex) apt expects for each `name=version`. */
  async expected(wanted: readonly string[]): Promise<{ file: string; sha256: string }[]> {
    return parseUris(await this.#get(["--print-uris", "download", ...wanted]));
  }

  /** Fetches `name=version` files into a folder. */
  async download(wanted: readonly string[], folder: string): Promise<void> {
    await this.#get(["-qq", "download", ...wanted], folder);
  }
}

/** A version and the suite it is in. */
export interface Version {
  readonly version: string;
  readonly suite: string;
}

/** Reads `apt-cache madison`: `name | version | uri suite/component arch Packages`. */
export function parseMadison(text: string): Map<string, Version[]> {
  const found = new Map<string, Version[]>();
  for (const line of text.split("\n")) {
    const match = /^\s*(\S+) \| +(\S+) \| \S+ ([^/\s]+)\/\S+ .*Packages$/.exec(line);
    if (match === null) continue;
    const [, name = "", version = "", suite = ""] = match;
    found.set(name, [...(found.get(name) ?? []), { version, suite }]);
  }
  return found;
}

/** Reads `apt-get --print-uris download`: `'uri' file size SHA256:hex`. */
export function parseUris(text: string): { file: string; sha256: string }[] {
  return [...text.matchAll(/^'[^']+' (\S+) \d+ SHA256:([0-9a-f]{64})$/gm)].map((match) => ({
    file: match[1] as string,
    sha256: match[2] as string,
  }));
}
