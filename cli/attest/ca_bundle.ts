// `cocos ca-bundle`: AMD's intermediate and root for a policy's product line, kept where the Go
// programs look for them. The server is not trusted: the root must be the pinned one.
import { CocosError } from "../../base/mod.ts";
import {
  ARK_KEYS,
  encodePem,
  isIssuedBy,
  parseCertificate,
  parseJson,
  parsePolicy,
  parseSeedPolicy,
  type ProductLine,
  seedLine,
  sha,
} from "../../attestation/mod.ts";
import type { Context } from "../context.ts";
import { chain, chainOf } from "./amd.ts";
import { download } from "./download.ts";
import { readText } from "./files.ts";
import type { AttestInvocation } from "./invocation.ts";
import { homeFolder, readServers } from "./servers.ts";
import { writeFile } from "./write.ts";
import { usage } from "./values.ts";

/** Fetches, checks and keeps the chain. */
export async function caBundle(
  { policy }: AttestInvocation & { command: "ca-bundle" },
  context: Context,
): Promise<void> {
  const line = productOf(await readText(policy));
  const { url, most } = chain(readServers(context.env).amd, line, "vcek");
  const { body } = await download(url, { most, signal: context.signal });
  const pair = chainOf(body);
  await requireAmd(pair, line);
  const folder = `${homeFolder(context.env)}/${line}`;
  await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
  const file = `${folder}/ask_ark.pem`;
  await writeFile(file, pair.map((der) => encodePem(der, "CERTIFICATE")).join(""), true);
  context.terminal.result({ file, product: line });
}

function productOf(text: string): ProductLine {
  const json = parseJson(text, "a policy", { characters: text.length + 1 });
  if (json.kind === "object" && json.members.has("cocosPolicy")) {
    const [line, ...more] = parsePolicy(text).snp?.products ?? [];
    if (line === undefined || more.length > 0) {
      throw usage("Cannot fetch certificates: the policy must name one product line");
    }
    return line;
  }
  const line = seedLine(parseSeedPolicy(text));
  if (line === undefined) {
    throw usage("Cannot fetch certificates: the policy names no product line");
  }
  return line;
}

async function requireAmd(
  [ask, ark]: readonly [Uint8Array, Uint8Array],
  line: ProductLine,
): Promise<void> {
  const [intermediate, root] = [parseCertificate(ask), parseCertificate(ark)];
  const pinned = (await sha(384, root.key.spki)).toHex() === ARK_KEYS[line];
  if (!pinned || !await isIssuedBy(root, root) || !await isIssuedBy(intermediate, root)) {
    throw new CocosError(
      "untrusted",
      `Cannot keep the certificates: they are not AMD's for ${line}`,
      {
        hint: "The server sent others, or COCOS_AMD_KDS_URL names the wrong one.",
      },
    );
  }
}
